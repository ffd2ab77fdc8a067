"""A network that computes logits in a region of its input alone."""

import math
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise, product
from typing import TypeGuard

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy import ndarray
from torch import Tensor, nn

from crossattn3d._layers.convolutions import ConvTranspose3d
from crossattn3d._layers.cross_attention import CrossAttention3d
from crossattn3d._layers.gate import Gate
from crossattn3d._layers.hooks import has_hooks, is_plain
from crossattn3d.kernels.cpp import convolution
from crossattn3d.kernels.derivative import Arguments
from crossattn3d.regional.blocks import is_folded, layers_of, weights_of
from crossattn3d.regional.boxes import Box, dilated, grown, tiles
from crossattn3d.regional.layers import Transforms, Weights, convolve, halve, upsample
from crossattn3d.regional.memory import give_back_memory
from crossattn3d.regional.mixing import attention_in_boxes
from crossattn3d.ucanet import UCANet
from crossattn3d.unet import ConcatSkip, UNet3d, UpConv

#: Voxels along h and w of a tile: smaller ones fit a region better, but each has a margin that is computed in vain.
SIDE = 64


class RegionalNet:
    """A `UNet3d` or `UCANet` that predicts the logits of a region in less time and memory.

    The logits equal those of the net, to rounding. At the finest level, it computes the encoder's map only within two
    voxels of an input that is not 0, and takes the map of an empty input elsewhere. It computes the decoder's map only
    within two voxels of the wanted region. The attention still reads whole maps, since its scores are sums over them.

    It keeps the encoder's map for the next input of the same size. Take all logits of one call before you make the next
    one. Each call reads the net's weights, so these may change in between.

    Args:
        net: a net that `is_regional` accepts.

    Examples:
        >>> import numpy as np
        >>> from crossattn3d.folding import fold_batch_norm
        >>> net = fold_batch_norm(UNet3d(1, 3, channels=(4, 8)).eval())
        >>> wanted = np.zeros((6, 8, 10), dtype=bool)
        >>> wanted[2:4, 3:5, 4:9] = True
        >>> [(box, logits)] = RegionalNet(net)(torch.randn(1, 1, 6, 8, 10), wanted)
        >>> box, logits.shape
        ((slice(2, 4, None), slice(3, 5, None), slice(4, 9, None)), torch.Size([1, 3, 2, 2, 5]))
    """

    def __init__(self, net: UNet3d) -> None:
        self.net = net
        self._transforms = Transforms()
        self._encoded: Tensor | None = None
        self._blank: Tensor | None = None
        self._written: list[Box] = []

    def __call__(
        self, x: Float[Tensor, "1 c d h w"], wanted: Bool[ndarray, "d h w"]
    ) -> Iterator[tuple[Box, Float[Tensor, "1 k _ _ _"]]]:
        """Return an iterator over boxes that cover the wanted voxels, each with its logits.

        Args:
            x: the input. It saves time where it is 0.
            wanted: True where logits are needed. Nothing is computed if no voxel is.

        Raises:
            ValueError: the net does not take the input, the batch has more than one, or `wanted` has another size.
        """
        self.net._check_input(x)
        if len(x) != 1:
            raise ValueError(
                f"RegionalNet: expected a batch of one, (1, {x.shape[1]}, depth, height, width); got {tuple(x.shape)}; "
                "call it with one after the other"
            )
        if wanted.shape != x.shape[2:]:
            raise ValueError(
                f"RegionalNet: expected wanted of the input's size, {tuple(x.shape[2:])}; got {wanted.shape}; give it "
                "for each voxel"
            )
        return self._logits(x, tiles(wanted, SIDE))

    def _logits(self, x: Tensor, boxes: list[Box]) -> Iterator[tuple[Box, Tensor]]:
        if not boxes:
            return
        with torch.inference_mode():
            # Autocast leaves float64 as it is.
            autocast = torch.is_autocast_enabled(x.device.type) and x.dtype != torch.float64
            dtype = torch.get_autocast_dtype(x.device.type) if autocast else x.dtype
            # Anew each time, since the net's weights may have changed.
            in_cpp = dtype == torch.float32 and convolution.is_wanted(self.net.channels[0] * x[0, 0].numel())
            layers = _Layers(self.net, dtype, self._transforms if in_cpp else None)
            encoded = self._encode(x.to(dtype), layers)
            joined = self._join(encoded, layers)
        size = encoded.shape[2:]
        for box in boxes:
            with torch.inference_mode():
                around, near = grown(box, 2, size), grown(box, 1, size)
                decoded = convolve(layers.decoder[0], joined(around), around, near, size)
                decoded = convolve(layers.decoder[1], decoded, near, box, size)
                logits = torch.nn.functional.conv3d(decoded, layers.head.weight, layers.head.bias)
            yield box, logits

    def _encode(self, x: Tensor, layers: "_Layers") -> Tensor:
        """Return the encoder's map of the finest level."""
        size = x.shape[2:]
        shape = (1, self.net.channels[0], *size)
        blank = layers.blank(x)
        encoded = self._encoded
        if encoded is None or (encoded.shape, encoded.dtype, encoded.device) != (shape, x.dtype, x.device):
            encoded = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last_3d)
            self._encoded, self._blank = encoded, None
        if self._blank is None or not torch.equal(self._blank, blank):
            self._written = [(slice(0, size[0]), slice(0, size[1]), slice(0, size[2]))]
            self._blank = blank
        for box in self._written:
            _fill(encoded, blank, box)
        self._written = tiles(dilated((x[0] != 0).any(dim=0).cpu().numpy(), 2), SIDE)
        for box in self._written:
            around, near = grown(box, 2, size), grown(box, 1, size)
            part = convolve(layers.encoder[0], x[:, :, *around], around, near, size)
            encoded[:, :, *box] = convolve(layers.encoder[1], part, near, box, size)
        return encoded

    def _join(self, encoded: Tensor, layers: "_Layers") -> Callable[[Box], Tensor]:
        """Return a function that gives a box of what the skip of the finest level returns, until it is called again."""
        skip = self.net.skips[0]
        if isinstance(skip, ConcatSkip):
            return _concatenation(encoded, self._below(encoded, layers), layers)
        arguments = _attention_of(skip)
        assert isinstance(skip, CrossAttention3d), "the net is regional"
        assert arguments is not None, "the net is regional"
        gate = skip.gate.parameters_of_gate() if isinstance(skip.gate, Gate) else None
        return attention_in_boxes(self._query(encoded, layers), encoded, arguments, gate, skip.residual)

    def _query(self, encoded: Tensor, layers: "_Layers") -> Tensor:
        """Return the decoder map of the finest level; not kept for the next input, since other levels need the room."""
        below = self._below(encoded, layers)
        give_back_memory()
        query = torch.empty_like(encoded)
        for box in tiles(np.ones(encoded.shape[2:], dtype=bool), SIDE):
            query[:, :, *box] = upsample(layers.up, below, box)
        return query

    def _below(self, encoded: Tensor, layers: "_Layers") -> Tensor:
        """Return the map of the second level that is to be up-sampled, as the net makes it.

        No map is kept longer than it is needed: those of the second level are large, too.
        """
        net, maps, x = self.net, [], encoded
        for i, pool in enumerate(net.pools):
            maps.append(x)
            x = pool(x) if i else halve(x)
            for layer in layers.of(net.encoder[i + 1]):
                x = layer(x)
        for i in reversed(range(1, len(net.decoder))):
            x = net.ups[i](x, maps[i].shape[2:])
            x = net.skips[i](x, maps.pop())
            for layer in layers.of(net.decoder[i]):
                x = layer(x)
        return x


class _Layers:
    """The layers of the finest level in a dtype, and those of blocks below it."""

    def __init__(self, net: UNet3d, dtype: torch.dtype, transforms: Transforms | None) -> None:
        self.of = partial(layers_of, dtype=dtype, transforms=transforms)
        self.encoder, self.decoder = (
            weights_of(block, dtype, transforms) for block in (net.encoder[0], net.decoder[0])
        )
        up = net.ups[0]
        assert isinstance(up, UpConv), "the net is regional"
        self.up, self.head = Weights.of(up.conv, dtype), Weights.of(net.head, dtype)

    def blank(self, x: Tensor) -> Tensor:
        """Return the encoder's map of an empty input of `x`'s size, of three voxels along each longer axis.

        An input of 0 is padded with 0, so that the border shows in the second convolution alone: in the first and the
        last voxel along each axis.
        """
        size = [min(n, 3) for n in x.shape[2:]]
        whole = slice(0, size[0]), slice(0, size[1]), slice(0, size[2])
        once = convolve(self.encoder[0], x.new_zeros((*x.shape[:2], *size)), whole, whole, size)
        return convolve(self.encoder[1], once, whole, whole, size)


def _concatenation(encoded: Tensor, below: Tensor, layers: "_Layers") -> Callable[[Box], Tensor]:
    """Return a function that gives a box of both maps, each time in the same memory.

    Of new memory for each box, which is a large block, the system would clear the pages first.
    """
    channels, (depth, height, width) = encoded.shape[1], encoded.shape[2:]
    side = SIDE + 4
    room = encoded.new_empty(depth * min(side, height) * min(side, width) * 2 * channels)

    def result(box: Box) -> Tensor:
        voxels = [s.stop - s.start for s in box]
        joined = room[: math.prod(voxels) * 2 * channels].view(1, *voxels, 2 * channels).permute(0, 4, 1, 2, 3)
        joined[:, :channels] = encoded[:, :, *box]
        joined[:, channels:] = upsample(layers.up, below, box)
        return joined

    return result


def _fill(encoded: Tensor, blank: Tensor, box: Box) -> None:
    """Write a box of the map that `blank` is short for: its middle voxel stands for all but the first and the last."""
    spans = [_spans(*of_axis) for of_axis in zip(box, encoded.shape[2:], strict=True)]
    for (i, d), (j, h), (k, w) in product(*spans):
        encoded[:, :, d, h, w] = blank[:, :, i, j, k, None, None, None]


def _spans(box: slice, size: int) -> list[tuple[int, slice]]:
    """Return the spans of a box along an axis, each after the voxel of `_Layers.blank` that is like it."""
    ends = [0, 1, size - 1, size] if size > 2 else list(range(size + 1))
    spans = [slice(max(first, box.start), min(stop, box.stop)) for first, stop in pairwise(ends)]
    return [(voxel, span) for voxel, span in enumerate(spans) if span.start < span.stop]


def is_regional(net: nn.Module) -> TypeGuard[UNet3d]:
    """Return whether `RegionalNet` can compute a net's logits.

    It can for a folded `UNet3d` or `UCANet` in eval mode. The finest level needs kernels of 3, strides of 2 and
    transposed convolutions, and no layer may be hooked, patched or replaced.
    """
    if not (type(net) in (UNet3d, UCANet) and isinstance(net, UNet3d)) or has_hooks(*net.modules()):
        return False
    modules = list(net.modules())
    if any(module.training or "forward" in module.__dict__ for module in modules) or net.deep_supervision:
        return False
    skip, up = net.skips[0], net.ups[0]
    return (
        (is_plain(skip, ConcatSkip) or _attention_of(skip) is not None)
        and net.kernel_sizes[0] == (3, 3, 3)
        and net.strides[0] == (2, 2, 2)
        and net.upsample == "transposed"
        and is_plain(net.pools[0], nn.MaxPool3d)
        and is_plain(up, UpConv)
        and isinstance(up, UpConv)
        and is_plain(up.conv, ConvTranspose3d)
        and len(up.norm) == 0
        and is_plain(net.head, nn.Conv3d)
        and is_folded(net.encoder[0])
        and is_folded(net.decoder[0])
    )


def _attention_of(skip: nn.Module) -> Arguments | None:
    """Return what one operation computes a skip from; None if the skip is no attention, or layers have to be called."""
    return skip.fused_arguments() if isinstance(skip, CrossAttention3d) else None
