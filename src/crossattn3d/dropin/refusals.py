"""Why a net cannot be wrapped, and what helps."""

import torch
from torch import nn

from crossattn3d.dropin.nets import KNOWN, identity

PAGE = "docs/nets/drop-in.md"

_BY_HAND = "change its forward to cat([csca(u, e), u]) yourself"
_NO_DECODER = "which has no decoder that gets encoder maps"
_OWN_JOINS = {
    "DAF3D": "which joins the maps of all its levels at once",
    "DiNTS": "whose connections between levels are searched",
    "DiffusionModelUNet": "which joins a map at each of its residual blocks, together with the time step",
    "SPADEDiffusionModelUNet": "which joins a map at each of its residual blocks, together with the time step",
    "HoVerNet": "which crops the maps that it adds, in three decoders",
    "Quicknat": "which joins its maps inside dense blocks that also take the indices of the pooling",
    "RegUNet": "which registers pairs of images",
    "Restormer": "which restores images and joins their maps with a convolution in between",
    "VoxelMorph": "which registers pairs of images",
    "VoxelMorphUNet": "whose skip blocks are nested in blocks that also join",
}
#: MONAI's nets without skips from an encoder to a decoder, by the class that they come from.
_WITHOUT_SKIPS = (
    *("AutoEncoder", "AutoencoderKL", "Classifier", "CellSamWrapper", "ControlNet", "Critic", "DecoderOnlyTransformer"),
    *("DenseNet", "Discriminator", "EfficientNet", "FullyConnectedNet", "Generator", "HighResNet", "MILModel"),
    *("MaskedAutoEncoderViT", "MultiScalePatchDiscriminator", "NaViT", "NetAdapter", "PatchDiscriminator", "Regressor"),
    *("ResNet", "ResNetFeatures", "SENet", "SPADEAutoencoderKL", "SPADENet", "SwinTransformer", "TorchVisionFCModel"),
    *("Transchex", "VQVAE", "VarFullyConnectedNet", "ViT", "ViTAutoEnc"),
)
_REASONS = {
    **{("monai", name): (reason, _BY_HAND) for name, reason in _OWN_JOINS.items()},
    **{("monai", name): (_NO_DECODER, "take a U-Net") for name in _WITHOUT_SKIPS},
    **{("dynamic_network_architectures", name): (_NO_DECODER, "take a U-Net") for name in ("Primus", "ResNetD", "VGG")},
    ("crossattn3d", "UNet3d"): ("whose skips are an argument", "make UNet3d(..., skip=CSCA), or UCANet"),
}


def refusal(who: str, net: nn.Module) -> str:
    """Return the message for a net that is not known: what it is, why that does not go, and what helps."""
    package, name = identity(type(net))
    reason, remedy = _reason(who, net)
    known = ", ".join(name for _, name in KNOWN)
    return (
        f"{who}: expected a net of MONAI or nnU-Net, one of {known}; got {package}'s {name}, {reason}; {remedy}; "
        f"{PAGE} says how"
    )


def _reason(who: str, net: nn.Module) -> tuple[str, str]:
    if isinstance(net, (torch.jit.ScriptModule, torch.fx.GraphModule)):
        return "whose code is fixed", f"call {who} before it is traced"
    bases = [identity(base) for base in type(net).__mro__]
    inherited = next((base for base in bases if base in KNOWN), None)
    if inherited is not None:
        if type(net).__name__ == f"FSDP{inherited[1]}":  # as fully_shard names the class of what it shards
            return "which is sharded", f"call {who} before fully_shard"
        reason = f"a subclass of {inherited[1]}, which may join its maps in another way"
        return reason, f"wrap a plain {inherited[1]}, or {_BY_HAND}"
    for base in bases:
        if base in _REASONS:
            return _REASONS[base]
    inner = next(((path, part) for path, part in net.named_modules() if identity(type(part)) in KNOWN), None)
    if inner is None:
        return "which is not known here", _BY_HAND
    path, part = inner
    if bases[0][0] == "torch" and path.split(".")[0] in ("module", "_orig_mod"):  # DistributedDataParallel, compile
        return f"a wrapper of {type(part).__name__}", f"call {who} on the net before it is wrapped"
    return f"which contains a {type(part).__name__}", f"call {who} on that, net.get_submodule({path!r})"
