"""Cases of the Triton passes: sizes, dtypes and memory formats, and random maps in them."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

Size = tuple[int, int, int]
HALF_ULP = 2.0**-24
PAPER = (32, 320, 320)
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
FORMATS = ("contiguous", "channels_last", "strided")
#: (query channels, context channels, size); no number of voxels is a multiple of a tile.
SHAPES = [
    (1, 3, (3, 5, 19)),
    (3, 1, (5, 19, 3)),
    (32, 33, (3, 5, 19)),
    (33, 32, (1, 5, 37)),
    (80, 64, (3, 5, 7)),
    (5, 320, (2, 3, 13)),
    (320, 80, (2, 3, 13)),
]


class Case(NamedTuple):
    """Widths, size, dtype and memory formats of the maps."""

    cu: int
    ce: int
    size: Size
    dtype: torch.dtype
    of_u: str
    of_e: str
    batch: int = 2


def feature_map(shape: tuple[int, ...], dtype: torch.dtype, layout: str, g: torch.Generator) -> Tensor:
    """A random map with NaN before and behind it in memory, and, if strided, between its channels."""
    b, c, *size = shape
    order = (b, math.prod(size), c) if layout == "channels_last" else (b, c, math.prod(size))
    gap = 48 if layout == "strided" else 0
    memory = torch.full((order[0], order[1], order[2] + gap), math.nan, dtype=dtype, device=g.device)
    margin = torch.full((64,), math.nan, dtype=dtype, device=g.device)
    memory = torch.cat((margin, memory.flatten(), margin))[64:-64].view(memory.shape)[:, :, : order[2]]
    values = torch.randn(order, generator=g, device=g.device, dtype=torch.float64) + 0.3
    memory.copy_(values)
    x = memory.mT if layout == "channels_last" else memory
    return x.unflatten(2, size)


def normal(*shape: int, g: torch.Generator) -> Tensor:
    return torch.randn(shape, generator=g, device=g.device)


def rms(x: Tensor) -> float:
    return x.square().mean().sqrt().item()


def known(x: Tensor | None) -> Tensor:
    assert x is not None
    return x
