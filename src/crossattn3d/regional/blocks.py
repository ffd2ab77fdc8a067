"""Blocks of two convolutions as the layers to call one after the other, in C++ where that is faster."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from crossattn3d._layers.convolutions import Conv3d
from crossattn3d._layers.hooks import is_plain
from crossattn3d.regional.layers import Weights, convolve
from crossattn3d.unet import ConvBlock, DecoderBlock

Layer = Callable[[Tensor], Tensor]


def is_folded(block: nn.Module) -> bool:
    """Return whether a block is two convolutions with ReLU and nothing else."""
    kinds = (Conv3d, nn.Identity, nn.ReLU) * 2
    plain = is_plain(block, ConvBlock) or is_plain(block, DecoderBlock)
    return plain and all(is_plain(layer, kind) for layer, kind in zip(block.children(), kinds, strict=True))


def weights_of(block: nn.Module, dtype: torch.dtype) -> list[Weights]:
    """Return the weights of a block's convolutions in another dtype."""
    return [Weights.of(layer, dtype) for layer in block.children() if isinstance(layer, nn.Conv3d)]


def layers_of(block: nn.Module, dtype: torch.dtype) -> list[Layer]:
    """Return layers that make a block's map of a whole map, each of the result of the one before.

    Who calls them can let go of each map as soon as the next one is there; who calls the block keeps its input.

    Args:
        block: of the net.
        dtype: that it is computed in.
    """
    if not is_folded(block):
        return [block]
    weights = weights_of(block, dtype) if dtype == torch.float32 else []
    if weights and all(w.transformed is not None for w in weights):
        return [partial(_convolve_whole, w) for w in weights]
    return list(block.children())


def _convolve_whole(weights: Weights, x: Tensor) -> Tensor:
    size = x.shape[2:]
    whole = slice(0, size[0]), slice(0, size[1]), slice(0, size[2])
    return convolve(weights, x, whole, whole, size)
