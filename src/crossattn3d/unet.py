"""A 3D U-Net whose skip connections are an argument.

A skip is made by a factory `skip(decoder_channels, encoder_channels)`; the module is called with `(query, context)`,
the up-sampled decoder map and the encoder map of one level, and says in `out_channels` how wide its result is. If it
has an attribute `recompute` that is true, its result is not kept for the backward pass but computed again: that has
to be cheap, and without side effects. `ConcatSkip` gives the U-Net everybody knows, `crossattn3d.CSCA` the UCA-Net.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal, Protocol, cast, get_args

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from crossattn3d._norms import Norm, make_norm
from crossattn3d._options import check_option
from crossattn3d._recompute import input_recomputed, recomputed

Upsample = Literal["transposed", "interpolate"]
Triple = tuple[int, int, int]


class Skip(Protocol):
    """What a skip connection is: `(query, context) -> tensor` with `out_channels` channels."""

    out_channels: int

    def __call__(self, query: Tensor, context: Tensor) -> Tensor:
        """Join the decoder map `query` and the encoder map `context`."""


SkipFactory = Callable[[int, int], nn.Module]


class ConcatSkip(nn.Module):
    """The U-Net's own skip connection: both maps, one after the other.

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
        """Concatenate along the channels, encoder first."""
        return torch.cat([context, query], dim=1)


class ConvBlock(nn.Sequential):
    """Convolution, normalization, ReLU, twice; both convolutions at the full width and with a bias.

    Args:
        in_channels, out_channels: widths.
        kernel_size: voxels along (d, h, w), odd.
        norm: `batch`, `instance` or `group`, each with a learnable scale and shift.

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
                nn.Conv3d(width, out_channels, kernel_size, padding=_padding(kernel_size)),
                make_norm(norm, out_channels),
                nn.ReLU(inplace=True),
            ]
        super().__init__(*layers)

    def forward(
        self, x: Float[Tensor, "b c d h w"], again: Callable[[], Tensor] | None = None
    ) -> Float[Tensor, "b k d h w"]:
        """The block's map; if `again` gives `x` again, the backward pass does so, and `x` need not be kept."""
        if again is None:
            return super().forward(x)  # type: ignore[no-untyped-call, no-any-return]
        first, *others = self
        with input_recomputed(x, again):
            x = first(x)
        for layer in others:
            x = layer(x)
        return x


class UpConv(nn.Module):
    """Up-sampling to the encoder's size and a convolution to its width.

    Args:
        in_channels, out_channels: widths.
        kernel_size: voxels along (d, h, w), odd.
        stride: how many times finer the result is along (d, h, w).
        upsample: `transposed`, a transposed convolution, or `interpolate`, trilinear and then a convolution.
        norm: normalization and ReLU after it, or none.

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
        self.conv: nn.Conv3d | nn.ConvTranspose3d
        if upsample == "transposed":
            # Exactly `stride` times the size, with the kernels centered so that they reach the last voxel too.
            padding = cast("Triple", tuple((k - s + 1) // 2 for k, s in zip(kernel_size, stride, strict=True)))
            rest = cast("Triple", tuple((k - s) % 2 for k, s in zip(kernel_size, stride, strict=True)))
            self.conv = nn.ConvTranspose3d(in_channels, out_channels, kernel_size, stride, padding, rest)
        else:
            self.conv = nn.Conv3d(in_channels, out_channels, kernel_size, padding=_padding(kernel_size))
        self.upsample = upsample
        self.norm = nn.Sequential() if norm is None else nn.Sequential(make_norm(norm, out_channels), nn.ReLU(True))

    def forward(self, x: Float[Tensor, "b ci d h w"], size: Sequence[int]) -> Float[Tensor, "b co d2 h2 w2"]:
        """Bring `x` to `size`, the (d, h, w) of the encoder map."""
        if self.upsample == "transposed":
            # Pooling rounds up, so the transposed convolution gives the encoder's size or a little more.
            d, h, w = size
            x = self.conv(x)[:, :, :d, :h, :w]
        else:
            x = self.conv(F.interpolate(x, tuple(size), mode="trilinear"))
        return cast("Tensor", self.norm(x))


class UNet3d(nn.Module):
    """3D U-Net with a skip connection of your choice; the defaults are the paper's 3D U-Net (6.42 M parameters).

    Args:
        in_channels: channels of the input, 1 for CT.
        out_channels: classes; raw logits come out.
        channels: width of each level, finest first.
        skip: factory `(decoder_channels, encoder_channels) -> module`, as `ConcatSkip` or `crossattn3d.CSCA`.
        strides: pooling between the levels, one less than levels; an int or (d, h, w) each.
        kernel_sizes: of the convolutions of each level; an int or (d, h, w) each, odd.
        norm: `batch`, `instance` or `group`.
        upsample: `transposed` or `interpolate` (trilinear, then a convolution); equal in parameters.
        up_norm: whether normalization and ReLU follow the up-sampling convolution too.
        use_checkpoint: keep only each block's input for the backward pass and compute the rest again there: less
            memory, more time, the same gradients.
        deep_supervision: return a list of logits, one for each level but the deepest, finest first. The attribute of
            the same name of a net made with it switches the list off and on; the state_dict stays the same.

    Raises:
        ValueError: an option is unknown or the lengths of channels, strides and kernel_sizes do not fit; in forward,
            the input has another rank or width, or is too small for the levels or the normalization, or
            deep_supervision was switched on in a net made without.

    Source: section 3.1 and Table 1 of the UCA-Net paper; Cicek et al., MICCAI 2016.

    Examples:
        >>> net = UNet3d(1, 3, channels=(4, 8, 16, 32))
        >>> net(torch.randn(1, 1, 9, 10, 12)).shape
        torch.Size([1, 3, 9, 10, 12])
    """

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
        levels = len(channels)
        if levels < 2 or min(channels) < 1:
            raise ValueError(f"{who}: expected channels of two or more levels, each 1 or more; got {tuple(channels)}")
        check_option(who, "norm", norm, get_args(Norm))
        check_option(who, "upsample", upsample, get_args(Upsample))
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.channels = tuple(channels)
        self.strides = _triples(who, "strides", strides, levels - 1, 2)
        self.kernel_sizes = _triples(who, "kernel_sizes", kernel_sizes, levels, 3)
        self.norm: Norm = norm
        self.upsample: Upsample = upsample
        self.up_norm = up_norm
        self.use_checkpoint = use_checkpoint
        self.deep_supervision = deep_supervision
        _check_kernels(who, self.kernel_sizes, self.strides)
        # Taken here, since torch.compile does not follow math.prod over a generator.
        self._least = tuple(math.prod(stride[axis] for stride in self.strides) for axis in range(3))

        widths = [in_channels, *channels]
        self.encoder = nn.ModuleList(
            ConvBlock(widths[i], widths[i + 1], self.kernel_sizes[i], norm) for i in range(levels)
        )
        self.pools = nn.ModuleList(nn.MaxPool3d(stride, ceil_mode=True) for stride in self.strides)
        self.ups = nn.ModuleList()
        self.skips = nn.ModuleList()
        self.decoder = nn.ModuleList()
        for i in range(levels - 1):
            width, kernel = channels[i], self.kernel_sizes[i]
            joined = skip(width, width)
            self.ups.append(
                UpConv(channels[i + 1], width, kernel, self.strides[i], upsample, norm if up_norm else None)
            )
            self.skips.append(joined)
            self.decoder.append(ConvBlock(_out_channels(who, joined), width, kernel, norm))
        self.head = nn.Conv3d(channels[0], out_channels, 1)
        supervised = channels[1:-1] if deep_supervision else ()
        self.auxiliary_heads = nn.ModuleList(nn.Conv3d(width, out_channels, 1) for width in supervised)

    def forward(self, x: Float[Tensor, "b c d h w"]) -> Float[Tensor, "b k d h w"] | list[Float[Tensor, "b k _ _ _"]]:
        """Logits of `out_channels` classes, of the input's own size; with deep supervision of each level's size."""
        self._check_input(x)
        maps: list[Tensor] = []
        auxiliary: list[Tensor] = []
        for i, block in enumerate(self.encoder):
            x = self._run(block, [block], self.pools[i - 1](x) if i else x)
            maps.append(x)
        for i in reversed(range(len(self.decoder))):
            x = self.ups[i](x, maps[i].shape[2:])
            x = self._run(partial(self._decode, i), [self.skips[i], self.decoder[i]], x, maps[i])
            if self.deep_supervision and i:
                auxiliary.insert(0, self.auxiliary_heads[i - 1](x))
        logits = cast("Tensor", self.head(x))
        return [logits, *auxiliary] if self.deep_supervision else logits

    def _decode(self, level: int, query: Tensor, context: Tensor) -> Tensor:
        skip, block = self.skips[level], self.decoder[level]
        joined = skip(query, context)
        # torch.compile decides for itself what it keeps, and export keeps nothing.
        eager = torch.is_grad_enabled() and not self.use_checkpoint and not torch.compiler.is_compiling()
        if eager and getattr(skip, "recompute", False):
            return cast("Tensor", block(joined, partial(skip, query, context)))
        return cast("Tensor", block(joined))

    def _run(self, function: Callable[..., Tensor], modules: Sequence[nn.Module], *inputs: Tensor) -> Tensor:
        if self.use_checkpoint and torch.is_grad_enabled():
            return cast("Tensor", recomputed(function, modules, *inputs))
        return function(*inputs)

    def _check_input(self, x: Tensor) -> None:
        who = type(self).__name__
        if x.ndim != 5 or x.shape[1] != self.in_channels:
            raise ValueError(
                f"{who}: expected (batch, {self.in_channels}, depth, height, width); got {tuple(x.shape)}; "
                f"add missing dimensions with unsqueeze, or make the net with in_channels to fit"
            )
        if any(n < m for n, m in zip(x.shape[2:], self._least, strict=True)):
            raise ValueError(
                f"{who}: expected at least {self._least} voxels, to be halved {len(self.strides)} times; "
                f"got {tuple(x.shape[2:])}; pad the input, or give strides of 1 along the short axis"
            )
        if self.deep_supervision and len(self.auxiliary_heads) != len(self.decoder) - 1:
            raise ValueError(
                f"{who}: expected a net made with deep_supervision=True to switch it on; got one made without, which "
                "has no heads for it; make the net with it and switch it off until then"
            )
        # Values that a variance is taken of.
        width = self.channels[-1]
        values = {"batch": x.shape[0], "instance": 1, "group": width // math.gcd(8, width)}[self.norm]
        for n, m in zip(x.shape[2:], self._least, strict=True):
            values *= -(-n // m)
        if values == 1 and (self.norm != "batch" or self.training):
            raise ValueError(
                f"{who}: expected more than one value at the deepest level for norm={self.norm!r} to take the "
                f"variance of; got {tuple(x.shape)}; pad the input"
            )


def _padding(kernel_size: Triple) -> Triple:
    d, h, w = kernel_size
    return d // 2, h // 2, w // 2


def _triples(
    who: str, name: str, values: Sequence[int | Sequence[int]] | None, count: int, default: int
) -> tuple[Triple, ...]:
    """One (d, h, w) per level from ints, triples or nothing."""
    given = [default] * count if values is None else list(values)
    triples = [(v,) * 3 if isinstance(v, int) else tuple(v) for v in given]
    if len(triples) != count or any(len(t) != 3 or min(t) < 1 for t in triples):
        raise ValueError(
            f"{who}: expected {name} with {count} entries, each an int or (d, h, w) of 1 or more; got {values!r}"
        )
    return tuple(cast("Triple", t) for t in triples)


def _check_kernels(who: str, kernel_sizes: Sequence[Triple], strides: Sequence[Triple]) -> None:
    if any(n % 2 == 0 for kernel in kernel_sizes for n in kernel):
        raise ValueError(f"{who}: expected odd kernel_sizes, which keep the size; got {tuple(kernel_sizes)}")
    for level, (kernel, stride) in enumerate(zip(kernel_sizes, strides, strict=False)):
        if any(k < s for k, s in zip(kernel, stride, strict=True)):
            raise ValueError(
                f"{who}: expected kernel_sizes no smaller than strides, else up-sampling leaves holes; got kernel "
                f"{kernel} and stride {stride} at level {level}; use stride 1 where the kernel is 1"
            )


def _out_channels(who: str, skip: nn.Module) -> int:
    width = getattr(skip, "out_channels", None)
    if not isinstance(width, int):
        raise ValueError(
            f"{who}: expected the skip to have an int out_channels; got {type(skip).__name__} with {width!r}; "
            "set self.out_channels in its __init__"
        )
    return width
