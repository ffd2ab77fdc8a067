"""Blocks of two convolutions, in C++ where that is faster."""

import torch
from torch import Tensor, nn

from crossattn3d._layers.convolutions import Conv3d
from crossattn3d._layers.hooks import is_plain
from crossattn3d.regional.layers import Weights, convolve
from crossattn3d.unet import ConvBlock, DecoderBlock


def is_folded(block: nn.Module) -> bool:
    """Return whether a block is two convolutions with ReLU and nothing else."""
    kinds = (Conv3d, nn.Identity, nn.ReLU) * 2
    plain = is_plain(block, ConvBlock) or is_plain(block, DecoderBlock)
    return plain and all(is_plain(layer, kind) for layer, kind in zip(block.children(), kinds, strict=True))


def weights_of(block: nn.Module, dtype: torch.dtype) -> list[Weights]:
    """Return the weights of a block's convolutions in another dtype."""
    return [Weights.of(layer, dtype) for layer in block.children() if isinstance(layer, nn.Conv3d)]


class Block:
    """A block of a level whose whole map is computed.

    Args:
        block: of the net; it is called where C++ does not convolve.
        dtype: that it is computed in.
    """

    def __init__(self, block: nn.Module, dtype: torch.dtype) -> None:
        self.block = block
        weights = weights_of(block, dtype) if dtype == torch.float32 and is_folded(block) else []
        self.weights = weights if all(w.transformed is not None for w in weights) else []

    def __call__(self, x: Tensor) -> Tensor:
        """Return the block's map."""
        if not self.weights:
            result: Tensor = self.block(x)
            return result
        size = x.shape[2:]
        whole = slice(0, size[0]), slice(0, size[1]), slice(0, size[2])
        for weights in self.weights:
            x = convolve(weights, x, whole, whole, size)
        return x
