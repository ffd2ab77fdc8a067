"""UCA-Net: the 3D U-Net with cross-attention for skip connections."""

import inspect
from collections.abc import Sequence
from functools import partial
from typing import Any, Literal, Unpack

from crossattn3d._checks.options import check_flag, check_option, check_options
from crossattn3d.attention import CSCA, ChannelCrossAttention3d, SliceCrossAttention3d
from crossattn3d.functional import Attention, Backend, ScoreNorm
from crossattn3d.unet import UNet3d, UNetOptions

AttentionName = Literal["csca", "cca", "sca"]
"""`cca` is the channel-wise half, `sca` the slice-wise half, `csca` their sum. The paper's Table 2 compares them."""

#: The skip connection that each attention names.
SKIPS = {"csca": CSCA, "cca": ChannelCrossAttention3d, "sca": SliceCrossAttention3d}


def _of_all_skips(name: str, description: str) -> property:
    """Return a property that reads an option from the skips, which hold it, and sets it in all of them."""

    def read(net: "UCANet") -> Any:
        found = [getattr(skip, name, None) for skip in net.skips]
        if any(value != found[0] for value in found):
            raise ValueError(
                f"{type(net).__name__}: expected one {name} in all skips; got {found}; set it for all with "
                f"net.{name} = ..."
            )
        return found[0]

    def write(net: "UCANet", value: Any) -> None:
        for skip in net.skips:
            setattr(skip, name, value)

    return property(read, write, doc=description)


class UCANet(UNet3d):
    """A `UNet3d` with cross-attention for skip connections. The default has the paper's size, 5.91 M parameters.

        O_i = CCA(U_i, E_i) + SCA(U_i, E_i) + U_i,   i = 1 .. levels - 1

    With `attention="cca"` and `gated`:

        O_i = G_i (Ws E_i + gamma (M_i - 1/C) V_i) + U_i

    The paper prints the formula with `score_norm="none", residual=False`, which are not the defaults.

    Args:
        in_channels: channels of the input, 1 for CT.
        out_channels: number of classes. The net returns raw logits.
        channels: width of each level, finest first.
        attention: the kind of attention.
        score_norm: how scores are normalized before the softmax. The paper prints `none`, which makes attention one-hot
            at every size that was tried.
        residual: whether to add the decoder map to the attention's result. The paper does not say. With False, the
            decoder map reaches the output through attention weights only, and the net finds tumors much worse.
        slice_dim: the dimension that counts slices. Give -1 for slices last, as MONAI and TorchIO load volumes.
        backend: the code that computes the attention.
        gated: whether attention corrects a static mixture that passes a gate, as in `ChannelCrossAttention3d`. The
            paper's skips have neither.
        strides: pooling between levels, one entry fewer than levels, each an int or (d, h, w). None takes 2.
        kernel_sizes: kernels of each level's convolutions, each an odd int or (d, h, w). None takes 3.
        norm: normalization after each convolution.
        upsample: how maps are up-sampled.
        up_norm: whether normalization and ReLU also follow the up-sampling convolution.
        use_checkpoint: whether the backward pass recomputes each block, for less memory and more time.
        deep_supervision: whether to return a list of logits, one for each level but the deepest.

    Raises:
        ValueError: as `UNet3d`, or an attention, score_norm, slice_dim or backend is unknown.

    Source: Fig. 1 and section 2.2.3 of the UCA-Net paper.

    Examples:
        >>> import torch
        >>> net = UCANet(in_channels=1, out_channels=3, channels=(4, 8, 16, 32))
        >>> net(torch.randn(1, 1, 8, 16, 24)).shape
        torch.Size([1, 3, 8, 16, 24])
    """

    _FIXED: tuple[str, ...] = (*UNet3d._FIXED, "attention", "gated")

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        channels: Sequence[int] = (32, 64, 128, 256),
        *,
        attention: AttentionName = "csca",
        score_norm: ScoreNorm = "instance",
        residual: bool = True,
        slice_dim: int = -3,
        backend: Backend = "auto",
        gated: bool = False,
        **options: Unpack[UNetOptions],
    ) -> None:
        who = type(self).__name__
        if "skip" in options:
            raise ValueError(
                f"{who}: expected no skip, as attention names it; got {dict(options)['skip']!r}; "
                "use UNet3d for a skip of your own"
            )
        check_option(who, "attention", attention, tuple(SKIPS))
        check_options(who, Attention(score_norm, residual, slice_dim, backend))
        check_flag(who, "gated", gated)
        skip = partial(
            SKIPS[attention],
            score_norm=score_norm,
            residual=residual,
            slice_dim=slice_dim,
            backend=backend,
            gated=gated,
        )
        super().__init__(in_channels, out_channels, channels, skip=skip, **options)
        self.attention: AttentionName = attention
        self.gated = gated

    score_norm = _of_all_skips("score_norm", "How all skips normalize their scores.")
    residual = _of_all_skips("residual", "Whether all skips add the decoder map.")
    slice_dim = _of_all_skips("slice_dim", "The dimension that counts slices, of all skips.")
    backend = _of_all_skips("backend", "Which code computes all skips.")


def _with_options_of_unet() -> inspect.Signature:
    """Return the signature of `UCANet` with the U-Net's options in place of `**options`, for `help`."""
    own, inherited = (inspect.signature(kind.__init__) for kind in (UCANet, UNet3d))
    named = [p for p in own.parameters.values() if p.kind is not p.VAR_KEYWORD]
    passed_on = [p for name, p in inherited.parameters.items() if name in UNetOptions.__annotations__]
    return own.replace(parameters=[*named, *passed_on])


UCANet.__init__.__signature__ = _with_options_of_unet()  # type: ignore[attr-defined]
