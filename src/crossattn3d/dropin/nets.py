"""Where the nets of MONAI and nnU-Net join their decoder and encoder maps.

Nets are known by package and class name, so that none of these packages has to be installed.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from torch import Tensor, nn

# The base of convolutions of any rank, transposed or not, has no public name.
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd


class Join(NamedTuple):
    """A place where a net joins a decoder map U and an encoder map E.

    Attributes:
        parent: a module of the net.
        name: its child that takes cat([U, E]), in the net's order; or that gives U, and the net's code joins the two.
        query: width of U.
        context: width of E.
        takes_both: whether the child takes the concatenation.
        alone: parent and name of a block that also takes U alone, if there is one.
    """

    parent: nn.Module
    name: str
    query: int
    context: int
    takes_both: bool = True
    alone: tuple[nn.Module, str] | None = None

    @property
    def block(self) -> nn.Module:
        """The child."""
        return self.parent.get_submodule(self.name)

    @property
    def weight(self) -> Tensor:
        """A weight of the child, or of its parent if it has none: where and in which precision the net computes."""
        return (convolutions(self.block) or convolutions(self.parent))[0].weight


class KnownNet(NamedTuple):
    """How a net joins its maps.

    Attributes:
        find: gives its joins.
        encoder_first: whether E comes first in its concatenations.
        slice_dim: the dimension that counts slices in the library's volumes.
        keeps_decoder_maps: why U cannot be left out of its joins; empty if it can.
    """

    find: Callable[[nn.Module], Iterator[Join]]
    encoder_first: bool
    slice_dim: int
    keeps_decoder_maps: str = ""


def convolutions(module: nn.Module) -> list[_ConvNd]:
    """Return the convolutions of a module, in the order of registration."""
    return [part for part in module.modules() if isinstance(part, _ConvNd)]


def readers(block: nn.Module) -> list[_ConvNd]:
    """Return the convolutions that take the block's input: the first one registered, and that of a residual block."""
    found = convolutions(block)[:1]
    for shortcut in ("conv3", "blocks.0.skip"):  # of MONAI's UnetResBlock and of nnU-Net's StackedResidualBlocks
        try:
            found += convolutions(block.get_submodule(shortcut))[:1]
        except AttributeError:
            continue
    return found


def narrow(convolution: _ConvNd, kept: slice) -> None:
    """Remove all input channels but `kept`, in place."""
    weight = convolution.weight.detach()
    weight = weight[kept] if isinstance(convolution, _ConvTransposeNd) else weight[:, kept]
    convolution.in_channels = len(range(convolution.in_channels)[kept])
    convolution.weight = nn.Parameter(weight.clone(), convolution.weight.requires_grad)


def _first(module: nn.Module) -> _ConvNd:
    return convolutions(module)[0]


def _last(module: nn.Module) -> _ConvNd:
    return convolutions(module)[-1]


def _basic_unet(net: nn.Module) -> Iterator[Join]:
    for level in (4, 3, 2, 1):
        context = _last(net.get_submodule("conv_0" if level == 1 else f"down_{level - 1}")).out_channels
        yield _of_upcat(net.get_submodule(f"upcat_{level}"), context)


def _basic_unet_plus_plus(net: nn.Module) -> Iterator[Join]:
    # Node (i, j) takes the up-sampled map of (i + 1, j - 1) and all maps (i, 0) to (i, j - 1) of its own level.
    for j in (1, 2, 3, 4):
        for i in range(5 - j):
            width = _last(net.get_submodule(f"conv_{i}_0")).out_channels
            yield _of_upcat(net.get_submodule(f"upcat_{i}_{j}"), j * width)


def _flexible_unet(net: nn.Module) -> Iterator[Join]:
    encoder: Any = type(net.encoder)
    widths = encoder.num_channels_per_output()[encoder.get_encoder_names().index(net.backbone)]
    # The last block has no encoder map.
    for block, context in zip(net.get_submodule("decoder.blocks").children(), widths[-2::-1], strict=False):
        yield _of_upcat(block, context)


def _of_upcat(upcat: nn.Module, context: int) -> Join:
    return Join(upcat, "convs", _first(upcat.get_submodule("convs")).in_channels - context, context)


def _unet(net: nn.Module) -> Iterator[Join]:
    # Each level is (down, skip around the level below, up); the lowest level is one convolution of another width.
    level, widths = net.get_submodule("model"), list(net.channels)  # type: ignore[arg-type]
    for i, width in enumerate(widths[:-1]):
        yield Join(level, "2", widths[-1] if i == len(widths) - 2 else width, width)
        below = level.get_submodule("1.submodule")
        level = getattr(below, "module", below)  # CheckpointUNet wraps each


def _attention_unet(net: nn.Module) -> Iterator[Join]:
    for layer in net.modules():
        if type(layer).__name__ == "AttentionLayer":
            width = _first(layer.get_submodule("merge")).in_channels // 2
            yield Join(layer, "merge", width, width)


def _dynunet(net: nn.Module) -> Iterator[Join]:
    for block in net.get_submodule("upsamples").children():
        width = _first(block.get_submodule("transp_conv")).out_channels
        yield Join(block, "conv_block", width, width)


def _unetr(net: nn.Module) -> Iterator[Join]:
    for name in ("decoder5", "decoder4", "decoder3", "decoder2", "decoder1"):
        if name != "decoder1" or hasattr(net, name):  # SwinUNETR has one more than UNETR
            block = net.get_submodule(name)
            width = _first(block.get_submodule("transp_conv")).out_channels
            yield Join(block, "conv_block", width, width)


def _vnet(net: nn.Module) -> Iterator[Join]:
    for name in ("up_tr256", "up_tr128", "up_tr64", "up_tr32"):
        up = net.get_submodule(name)
        query = _first(up.get_submodule("up_conv")).out_channels
        yield Join(up, "act_function1", query, _first(up.get_submodule("ops")).in_channels - query, takes_both=False)


def _segresnet(net: nn.Module) -> Iterator[Join]:
    ups, blocks = net.get_submodule("up_samples"), net.get_submodule("up_layers")
    # The autoencoder of SegResNetVAE runs the decoder a second time, without encoder maps.
    twice = type(net).__name__ == "SegResNetVAE"
    for name, up in ups.named_children():
        width = _first(up).out_channels
        yield Join(ups, name, width, width, takes_both=False, alone=(blocks, name) if twice else None)


def _segresnet_ds(net: nn.Module) -> Iterator[Join]:
    filters: Any = net.init_filters
    for branch in ("up_layers", "up_layers_auto"):
        levels = list(getattr(net, branch, nn.ModuleList()).children())
        for i, level in enumerate(levels):
            if convolutions(level.get_submodule("upsample")):  # a net of one level has none
                width = filters * 2 ** (len(levels) - 1 - i)
                yield Join(level, "upsample", width, width, takes_both=False)


def _mednext(net: nn.Module) -> Iterator[Join]:
    ups = net.get_submodule("up_blocks")
    for name, up in ups.named_children():
        width = _first(up.get_submodule("conv3")).out_channels
        yield Join(ups, name, width, width, takes_both=False)


def _ahnet(net: nn.Module) -> Iterator[Join]:
    for name in ("up0", "up1", "up2", "trans1", "up3"):
        width = _last(net.get_submodule(name)).out_channels
        yield Join(net, name, width, width, takes_both=False)


def _nnunet(net: nn.Module) -> Iterator[Join]:
    stages = net.get_submodule("decoder.stages")
    for (name, _), up in zip(stages.named_children(), net.get_submodule("decoder.transpconvs").children(), strict=True):
        width = _first(up).out_channels
        yield Join(stages, name, width, width)


_ADDS = "adds its maps, so that its blocks get CSCA(U, E) + U alone already"
_ADDS_CONCATENATION = "adds its concatenation to what its block makes of it, so that no map of it can be left out"

KNOWN = {
    ("monai", "BasicUNet"): KnownNet(_basic_unet, True, -1),
    ("monai", "BasicUNetPlusPlus"): KnownNet(_basic_unet_plus_plus, True, -1),
    ("monai", "UNet"): KnownNet(_unet, True, -1),
    ("monai", "CheckpointUNet"): KnownNet(_unet, True, -1),
    ("monai", "DynUNet"): KnownNet(_dynunet, False, -1),
    ("monai", "AttentionUnet"): KnownNet(_attention_unet, True, -1),
    ("monai", "FlexibleUNet"): KnownNet(_flexible_unet, True, -1),
    ("monai", "UNETR"): KnownNet(_unetr, False, -1),
    ("monai", "SwinUNETR"): KnownNet(_unetr, False, -1),
    ("monai", "VNet"): KnownNet(_vnet, False, -1, _ADDS_CONCATENATION),
    ("monai", "SegResNet"): KnownNet(_segresnet, False, -1, _ADDS),
    ("monai", "SegResNetVAE"): KnownNet(_segresnet, False, -1, _ADDS),
    ("monai", "SegResNetDS"): KnownNet(_segresnet_ds, False, -1, _ADDS),
    ("monai", "SegResNetDS2"): KnownNet(_segresnet_ds, False, -1, _ADDS),
    ("monai", "MedNeXt"): KnownNet(_mednext, False, -1, _ADDS),
    ("monai", "AHNet"): KnownNet(_ahnet, False, -1, _ADDS),
    ("dynamic_network_architectures", "PlainConvUNet"): KnownNet(_nnunet, False, -3),
    ("dynamic_network_architectures", "ResidualEncoderUNet"): KnownNet(_nnunet, False, -3),
    ("dynamic_network_architectures", "ResidualUNet"): KnownNet(_nnunet, False, -3),
}


def identity(kind: type) -> tuple[str, str]:
    """Return the package and the name of a class, by which nets are known."""
    return kind.__module__.split(".")[0], kind.__name__
