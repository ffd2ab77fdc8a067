"""A 3D U-Net whose skip connections are an argument.

A factory makes each skip, a module as `Skip` describes it. `ConcatSkip` gives the usual U-Net, `crossattn3d.CSCA` the
UCA-Net.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any, Literal, Protocol, TypedDict, cast, get_args

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from crossattn3d._checks.nets import (
    Triple,
    check_factory,
    check_kernels,
    check_numbers,
    check_skip,
    check_width,
    checked_levels,
    checked_triples,
    triple,
)
from crossattn3d._checks.options import check_flag, check_option, check_unchanged
from crossattn3d._checks.scripting import NotScriptable
from crossattn3d._layers.convolutions import Conv3d, ConvTranspose3d
from crossattn3d._layers.hooks import has_hooks
from crossattn3d._layers.norms import Norm, make_norm
from crossattn3d._recompute import checkpoint, recompute_for_backward
from crossattn3d.kernels.modes import is_recorded, untraced

Upsample = Literal["transposed", "interpolate"]
"""`transposed` is a transposed convolution, `interpolate` trilinear interpolation and then a convolution."""


class Skip(Protocol):
    """A skip connection: a module that joins both maps of one level to a map of `out_channels` channels.

    If it has a method `recomputation`, this takes the same maps and returns None or a function. The backward pass then
    calls that function for the result, and the net does not keep it.
    """

    out_channels: int

    def __call__(self, query: Tensor, context: Tensor) -> Tensor:
        """Join the up-sampled decoder map `query` with the encoder map `context`."""


SkipFactory = Callable[[int, int], nn.Module]
"""Makes a `Skip` from `(decoder_channels, encoder_channels)`: its class, or a function."""


class ConcatSkip(nn.Module):
    """The skip connection of the usual U-Net: the concatenation of both maps.

    Args:
        decoder_channels: channels of the decoder map.
        encoder_channels: channels of the encoder map.

    Examples:
        >>> skip = ConcatSkip(4, 6)
        >>> skip(torch.zeros(1, 4, 2, 2, 2), torch.zeros(1, 6, 2, 2, 2)).shape[1] == skip.out_channels == 10
        True
    """

    def __init__(self, decoder_channels: int, encoder_channels: int) -> None:
        super().__init__()
        self.out_channels = decoder_channels + encoder_channels

    def forward(
        self, query: Float[Tensor, "b cq d h w"], context: Float[Tensor, "b ce d h w"]
    ) -> Float[Tensor, "b c d h w"]:
        """Concatenate the channels of both maps, encoder first."""
        return torch.cat([context, query], dim=1)


class ConvBlock(nn.Sequential):
    """Convolution, normalization and ReLU, twice; both convolutions have the full width and a bias.

    Args:
        in_channels: width of the input.
        out_channels: width of the result.
        kernel_size: voxels along (d, h, w), odd.
        norm: normalization after each convolution.

    Examples:
        >>> ConvBlock(1, 4)(torch.zeros(1, 1, 2, 3, 5)).shape
        torch.Size([1, 4, 2, 3, 5])
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Triple = (3, 3, 3), norm: Norm = "batch"
    ) -> None:
        layers: list[nn.Module] = []
        for width in (in_channels, out_channels):
            layers += [
                Conv3d(width, out_channels, kernel_size),
                make_norm(norm, out_channels),
                nn.ReLU(inplace=True),
            ]
        super().__init__(*layers)


class DecoderBlock(ConvBlock):
    """A `ConvBlock` that can do without its input in the backward pass."""

    def forward(
        self, x: Float[Tensor, "b c d h w"], recompute_input: Callable[[], Tensor] | None = None
    ) -> Float[Tensor, "b k d h w"]:
        """Return the block's map; the backward pass calls `recompute_input`, if given, instead of keeping `x`."""
        if recompute_input is None:
            return super().forward(x)  # type: ignore[no-untyped-call, no-any-return]
        first, *others = self
        with recompute_for_backward(x, recompute_input):
            x = first(x)
        for layer in others:
            x = layer(x)
        return x


class UpConv(nn.Module):
    """Up-sampling to the size of the encoder map and a convolution to its width.

    Args:
        in_channels: width of the input.
        out_channels: width of the result.
        kernel_size: voxels along (d, h, w), odd.
        stride: up-sampling factor along (d, h, w).
        upsample: `transposed`, a transposed convolution, or `interpolate`, trilinear interpolation and a convolution.
        norm: normalization that follows, with a ReLU; None for neither.

    Examples:
        >>> UpConv(8, 4)(torch.zeros(1, 8, 2, 3, 4), (4, 5, 8)).shape
        torch.Size([1, 4, 4, 5, 8])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Triple = (3, 3, 3),
        stride: Triple = (2, 2, 2),
        upsample: Upsample = "transposed",
        norm: Norm | None = None,
    ) -> None:
        super().__init__()
        check_option("UpConv", "upsample", upsample, get_args(Upsample))
        self.conv: nn.Conv3d | nn.ConvTranspose3d
        if upsample == "transposed":
            # Exactly `stride` times the size, with the kernels centered so that they reach the last voxel too.
            excess = [k - s for k, s in zip(kernel_size, stride, strict=True)]
            padding, rest = triple((n + 1) // 2 for n in excess), triple(n % 2 for n in excess)
            self.conv = ConvTranspose3d(in_channels, out_channels, kernel_size, stride, padding, rest)
        else:
            self.conv = Conv3d(in_channels, out_channels, kernel_size)
        self.upsample = upsample
        self.norm = nn.Sequential() if norm is None else nn.Sequential(make_norm(norm, out_channels), nn.ReLU(True))

    def forward(self, x: Float[Tensor, "b ci d h w"], size: Sequence[int]) -> Float[Tensor, "b co d2 h2 w2"]:
        """Up-sample `x` to `size`, the (d, h, w) of the encoder map."""
        d, h, w = size
        if self.upsample == "transposed":
            # Pooling rounds up, so the transposed convolution gives the encoder's size or slightly more.
            x = self.conv(x)[:, :, :d, :h, :w]
        else:
            x = self.conv(F.interpolate(x, (d, h, w), mode="trilinear"))
        return cast("Tensor", self.norm(x))


class UNetOptions(TypedDict, total=False):
    """The options of `UNet3d` but for its skip, as subclasses pass them on."""

    strides: Sequence[int | Sequence[int]] | None
    kernel_sizes: Sequence[int | Sequence[int]] | None
    norm: Norm
    upsample: Upsample
    up_norm: bool
    use_checkpoint: bool
    deep_supervision: bool


class UNet3d(NotScriptable, nn.Module):
    """A 3D U-Net with a skip connection of your choice. The default has the paper's size, 6.42 M parameters.

    Args:
        in_channels: channels of the input, 1 for CT.
        out_channels: number of classes. The net returns raw logits.
        channels: width of each level, finest first.
        skip: factory of the skips, `(decoder_channels, encoder_channels) -> module`, such as `crossattn3d.CSCA`.
        strides: pooling between levels, one entry fewer than levels, each an int or (d, h, w). None takes 2.
        kernel_sizes: kernels of each level's convolutions, each an odd int or (d, h, w). None takes 3.
        norm: normalization after each convolution.
        upsample: how maps are up-sampled. Both ways have the same parameters.
        up_norm: whether normalization and ReLU also follow the up-sampling convolution.
        use_checkpoint: whether to keep only each block's input and recompute the rest in the backward pass. That takes
            less memory and more time, and gives the same gradients.
        deep_supervision: whether to return a list of logits, one for each level but the deepest, finest first. In a net
            made with it, the attribute of this name switches the list off and on. The state_dict stays the same.

    Raises:
        ValueError: an argument is unknown or no whole number, skip is no factory, or channels, strides and kernel_sizes
            have lengths that do not match. In forward: the input has another rank, width, number type or device, is too
            small for the levels or the normalization, or a net made without deep_supervision was switched to it.

    Source: section 3.1 and Table 1 of the UCA-Net paper; Cicek et al., MICCAI 2016.

    Examples:
        >>> net = UNet3d(1, 3, channels=(4, 8, 16, 32))
        >>> net(torch.randn(1, 1, 9, 10, 12)).shape
        torch.Size([1, 3, 9, 10, 12])
    """

    #: What the layers are made for.
    _FIXED: tuple[str, ...] = ("channels", "strides", "kernel_sizes", "norm", "upsample", "up_norm", "total_stride")

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        channels: Sequence[int] = (32, 64, 128, 256),
        *,
        skip: SkipFactory = ConcatSkip,
        strides: Sequence[int | Sequence[int]] | None = None,
        kernel_sizes: Sequence[int | Sequence[int]] | None = None,
        norm: Norm = "batch",
        upsample: Upsample = "transposed",
        up_norm: bool = False,
        use_checkpoint: bool = False,
        deep_supervision: bool = False,
    ) -> None:
        super().__init__()
        who = type(self).__name__
        in_channels = check_width(who, "in_channels", in_channels)
        out_channels = check_width(who, "out_channels", out_channels)
        channels = checked_levels(who, channels)
        levels = len(channels)
        check_option(who, "norm", norm, get_args(Norm))
        check_option(who, "upsample", upsample, get_args(Upsample))
        check_flag(who, "up_norm", up_norm)
        check_factory(who, skip)
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.channels = channels
        self.strides = checked_triples(who, "strides", strides, levels - 1, 2)
        self.kernel_sizes = checked_triples(who, "kernel_sizes", kernel_sizes, levels, 3)
        self.norm: Norm = norm
        self.upsample: Upsample = upsample
        self.up_norm = up_norm
        self.use_checkpoint = use_checkpoint
        self.deep_supervision = deep_supervision
        check_kernels(who, self.kernel_sizes, self.strides)
        #: Product of the strides along (d, h, w), the smallest input. torch.compile would not trace this in forward.
        self.total_stride = triple(math.prod(axis) for axis in zip(*self.strides, strict=True))

        widths = [in_channels, *channels]
        self.encoder = nn.ModuleList(
            ConvBlock(widths[i], widths[i + 1], self.kernel_sizes[i], norm) for i in range(levels)
        )
        self.pools = nn.ModuleList(nn.MaxPool3d(stride, ceil_mode=True) for stride in self.strides)
        self.ups, self.skips, self.decoder = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for (width, below), kernel, stride in zip(pairwise(channels), self.kernel_sizes, self.strides, strict=False):
            join = skip(width, width)
            joined = check_skip(who, join)
            self.skips.append(join)
            self.ups.append(UpConv(below, width, kernel, stride, upsample, norm if up_norm else None))
            self.decoder.append(DecoderBlock(joined, width, kernel, norm))
        self.head = nn.Conv3d(channels[0], out_channels, 1)
        supervised = channels[1:-1] if deep_supervision else ()
        self.auxiliary_heads = nn.ModuleList(nn.Conv3d(width, out_channels, 1) for width in supervised)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self._FIXED:
            check_unchanged(self, name, value)
        if name in ("use_checkpoint", "deep_supervision"):
            check_flag(type(self).__name__, name, value)
        super().__setattr__(name, value)

    def forward(self, x: Float[Tensor, "b c d h w"]) -> Float[Tensor, "b k d h w"] | list[Float[Tensor, "b k _ _ _"]]:
        """Return logits at the input's size. With deep supervision, return a list with those of each level."""
        if not isinstance(x, torch.fx.Proxy):  # which has no sizes yet
            with untraced():
                self._check_input(x)
        heads = [self.head, *self.auxiliary_heads] if self.deep_supervision else [self.head]
        maps: list[Tensor] = []
        logits: list[Tensor] = []
        for i, block in enumerate(self.encoder):
            x = self._run(block, [block], self.pools[i - 1](x) if i else x)
            maps.append(x)
        for i in reversed(range(len(self.decoder))):
            x = self.ups[i](x, maps[i].shape[2:])
            x = self._run(partial(self._decode, i), [self.skips[i], self.decoder[i]], x, maps[i])
            if i < len(heads):
                logits.insert(0, heads[i](x))
        return logits if self.deep_supervision else logits[0]

    def _decode(self, level: int, query: Tensor, context: Tensor) -> Tensor:
        skip, block = self.skips[level], self.decoder[level]
        joined = skip(query, context)
        # torch.compile chooses what to keep, and programs that are written down keep nothing.
        eager = not (torch.compiler.is_compiling() or is_recorded(joined))
        eager = eager and torch.is_grad_enabled() and not self.use_checkpoint
        recomputation = getattr(skip, "recomputation", None) if eager and isinstance(block, DecoderBlock) else None
        # Hooks might change the map that the block is called with.
        if recomputation is not None and not has_hooks(*skip.modules(), *block.modules()):
            return cast("Tensor", block(joined, recomputation(query, context)))
        return cast("Tensor", block(joined))

    def _run(self, function: Callable[..., Tensor], modules: Sequence[nn.Module], *inputs: Tensor) -> Tensor:
        if self.use_checkpoint and torch.is_grad_enabled():
            return checkpoint(function, modules, *inputs)
        return function(*inputs)

    def _check_input(self, x: Tensor) -> None:
        who = type(self).__name__
        if not isinstance(x, Tensor):
            raise ValueError(
                f"{who}: expected a tensor, (batch, {self.in_channels}, depth, height, width); got {type(x).__name__}; "
                "convert it with torch.as_tensor"
            )
        if x.ndim != 5 or x.shape[1] != self.in_channels:
            raise ValueError(
                f"{who}: expected (batch, {self.in_channels}, depth, height, width); got {tuple(x.shape)}; "
                f"add missing dimensions with unsqueeze, or make the net with in_channels to fit"
            )
        check_numbers(who, x, next(self.parameters()))
        if any(n < m for n, m in zip(x.shape[2:], self.total_stride, strict=True)):
            raise ValueError(
                f"{who}: expected at least {self.total_stride} voxels, to be halved {len(self.strides)} times; "
                f"got {tuple(x.shape[2:])}; pad the input, or give strides of 1 along the short axis"
            )
        if self.deep_supervision and len(self.auxiliary_heads) != len(self.decoder) - 1:
            raise ValueError(
                f"{who}: expected a net made with deep_supervision=True to switch it on; got one made without, which "
                "has no heads for it; make the net with it and switch it off until then"
            )
        # Number of values in each variance at the deepest level.
        width = self.channels[-1]
        values = {"batch": x.shape[0], "instance": 1, "group": width // math.gcd(8, width)}[self.norm]
        for n, m in zip(x.shape[2:], self.total_stride, strict=True):
            values *= -(-n // m)
        if values == 1 and (self.norm != "batch" or self.training):
            raise ValueError(
                f"{who}: expected more than one value at the deepest level for norm={self.norm!r} to take the "
                f"variance of; got {tuple(x.shape)}; pad the input"
            )
