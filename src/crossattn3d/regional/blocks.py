"""Blocks of two convolutions as the layers to call one after the other, in C++ where that is faster."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from crossattn3d._layers.convolutions import Conv3d
from crossattn3d._layers.hooks import is_plain
from crossattn3d.regional.layers import Transforms, Weights, convolve, is_in_cpp
from crossattn3d.unet import ConvBlock, DecoderBlock

Layer = Callable[[Tensor], Tensor]


def is_folded(block: nn.Module) -> bool:
    """Return whether a block is two convolutions with ReLU and nothing else."""
    kinds = (Conv3d, nn.Identity, nn.ReLU) * 2
    plain = is_plain(block, ConvBlock) or is_plain(block, DecoderBlock)
    return plain and all(is_plain(layer, kind) for layer, kind in zip(block.children(), kinds, strict=True))


def weights_of(block: nn.Module, dtype: torch.dtype, transforms: Transforms | None) -> list[Weights]:
    """Return the weights of a block's convolutions in another dtype."""
    return [Weights.of(layer, dtype, transforms) for layer in _convolutions(block)]


def layers_of(block: nn.Module, dtype: torch.dtype, transforms: Transforms | None) -> list[Layer]:
    """Return layers that make a block's map of a whole map, each of the result of the one before.

    Who calls them can let go of each map as soon as the next one is there; who calls the block keeps its input.

    Args:
        block: of the net.
        dtype: that it is computed in.
        transforms: of the net's weights, for C++ to convolve where it can.
    """
    if not is_folded(block):
        return [block]
    if transforms is not None and all(is_in_cpp(layer) for layer in _convolutions(block)):
        return [partial(_convolve_whole, weights) for weights in weights_of(block, dtype, transforms)]
    return list(block.children())


def _convolutions(block: nn.Module) -> list[nn.Conv3d]:
    return [layer for layer in block.children() if isinstance(layer, nn.Conv3d)]


def _convolve_whole(weights: Weights, x: Tensor) -> Tensor:
    size = x.shape[2:]
    whole = slice(0, size[0]), slice(0, size[1]), slice(0, size[2])
    return convolve(weights, x, whole, whole, size)
