"""Convolutions of which a box of the result is computed, from the box of the input that it depends on."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from crossattn3d.kernels.cpp import convolution
from crossattn3d.regional.boxes import Box, grown, within

#: Slices that are halved at a time, an even number.
POOLED = 4


class Weights(NamedTuple):
    """Weight and bias of a convolution, in the dtype that it is computed in.

    Attributes:
        weight: as PyTorch has it.
        bias: likewise.
        transformed: the weight as C++ reads it; None where C++ does not convolve.
    """

    weight: Tensor
    bias: Tensor | None
    transformed: Tensor | None = None

    @classmethod
    def of(
        cls, layer: nn.Conv3d | nn.ConvTranspose3d, dtype: torch.dtype, transforms: "Transforms | None" = None
    ) -> "Weights":
        """Return the weights of a layer in another dtype.

        Args:
            layer: of the net.
            dtype: of the result.
            transforms: for C++ to convolve in float32 where it can.
        """
        bias = None if layer.bias is None else layer.bias.detach().to(dtype)
        if transforms is not None and is_in_cpp(layer):
            return cls(layer.weight.detach(), bias, transforms.of(layer))
        return cls(layer.weight.detach().to(dtype).contiguous(memory_format=torch.channels_last_3d), bias)


class Transforms:
    """The weights of layers as C++ reads them, kept until they change.

    They are compared number by number, in a fraction of the time: PyTorch does not count each change.
    """

    def __init__(self) -> None:
        self._kept: dict[nn.Module, tuple[Tensor, Tensor]] = {}

    def of(self, layer: nn.Conv3d | nn.ConvTranspose3d) -> Tensor:
        """Return the weights of a layer for which `is_in_cpp` holds."""
        weight, kept = layer.weight.detach(), self._kept.get(layer)
        if kept is None or not torch.equal(kept[0], weight):
            kept = self._kept[layer] = weight.clone(), convolution.transformed(weight)
        return kept[1]


def is_in_cpp(layer: nn.Module) -> bool:
    """Return whether C++ convolves with the weights of a layer."""
    return isinstance(layer, nn.Conv3d) and layer.bias is not None and convolution.is_supported(layer.weight)


def convolve(weights: Weights, part: Tensor, covers: Box, box: Box, size: Sequence[int]) -> Tensor:
    """Return a box of the result of a 3x3x3 convolution that keeps the size, by padding with 0, and of its ReLU.

    Args:
        weights: of the convolution.
        part: of its input, (1, c, d, h, w).
        covers: where the part is; at least a voxel more than the box on every side, as far as there are any.
        box: of the result.
        size: of the whole input, voxels along (d, h, w).
    """
    needed = grown(box, 1, size)
    part = part[:, :, *within(needed, covers)]
    if weights.transformed is not None and weights.bias is not None:
        before = [b.start - s.start for b, s in zip(box, needed, strict=True)]
        voxels = [b.stop - b.start for b in box]
        return convolution.convolve(part, before, voxels, weights.transformed, weights.bias)
    # Padded along an axis where the box ends with the map: on both sides, of which one is cut off where it does not.
    padding = [int(s.stop - s.start < b.stop - b.start + 2) for s, b in zip(needed, box, strict=True)]
    kept = (
        slice(b.start - s.start, b.stop - s.start) if padded else slice(None)
        for b, s, padded in zip(box, needed, padding, strict=True)
    )
    return _convolution(part, weights, padding)[:, :, *kept].relu_()


def upsample(weights: Weights, below: Tensor, box: Box) -> Tensor:
    """Return a box of the result of the transposed convolution that doubles a map, of 3x3x3 and stride 2.

    Args:
        weights: of the convolution.
        below: its whole input, (1, c, d, h, w).
        box: of the result.
    """
    # Two neighbors make each odd voxel, one alone each even one.
    needed = [slice(b.start // 2, min(b.stop // 2 + 1, n)) for b, n in zip(box, below.shape[2:], strict=True)]
    part = below[:, :, *needed].contiguous(memory_format=torch.channels_last_3d)
    doubled = F.conv_transpose3d(part, weights.weight, weights.bias, 2, 1, 1)
    kept = (slice(b.start - 2 * s.start, b.stop - 2 * s.start) for b, s in zip(box, needed, strict=True))
    return doubled[:, :, *kept]


def halve(x: Tensor) -> Tensor:
    """Return the largest of each block of 2x2x2 voxels, those at the end of an odd axis smaller.

    PyTorch's pooling also makes the places of the largest values, which take more memory than the map.
    """
    depth = x.shape[2]
    shape = (*x.shape[:2], *(-(-n // 2) for n in x.shape[2:]))
    halved = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last_3d)
    for start in range(0, depth, POOLED):
        part = x[:, :, start : start + POOLED]
        for axis in (2, 3, 4):
            before = (slice(None),) * axis
            largest = part[*before, ::2].clone(memory_format=torch.channels_last_3d)
            others = part[*before, 1::2]
            paired = largest.narrow(axis, 0, others.shape[axis])
            torch.maximum(paired, others, out=paired)
            part = largest
        halved[:, :, start // 2 : start // 2 + part.shape[2]] = part
    return halved


def _convolution(x: Tensor, weights: Weights, padding: Sequence[int]) -> Tensor:
    x = x.contiguous(memory_format=torch.channels_last_3d)
    # On CPU, PyTorch leaves small float32 maps to slow code of its own.
    if x.is_cpu and _has_onednn(x.dtype):
        return torch.mkldnn_convolution(x, weights.weight, weights.bias, padding, (1, 1, 1), (1, 1, 1), 1)
    return F.conv3d(x, weights.weight, weights.bias, padding=tuple(padding))


def _has_onednn(dtype: torch.dtype) -> bool:
    """Return whether oneDNN convolves maps of a dtype on this processor: half precision needs instructions for it."""
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    if dtype == torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    if dtype == torch.float16:
        return bool(torch.ops.mkldnn._is_mkldnn_fp16_supported())
    return dtype == torch.float32
