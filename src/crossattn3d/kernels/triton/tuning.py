"""How much a program takes at a time: channels, voxels, warps.

Chosen from what the compiler reports for compute capability 8.0 and 9.0: all fits into 99 KiB of shared memory, which
every GPU has, up to 128 channels in half precision at most 60 bytes of a thread's registers spill, and as many programs
run at once as then can. Nothing of it has been timed; `benchmarks/gpu_tiles.py` times alternatives.
"""

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

#: Most channels that a program takes at a time in half precision; in others, which multiply without tensor cores.
BLOCK, BLOCK_WIDE = 128, 64
#: Most channels of a map that are multiplied at a time where it has more than a block.
PART = 64
#: Most voxels that a program takes at a time; runs of voxels are whole multiples.
MOST_VOXELS = 128


class Tiles(NamedTuple):
    """Voxels at a time, warps of a program, and tiles in flight."""

    voxels: int
    warps: int
    stages: int = 3


#: In half precision by the largest block of channels: sums, mixtures of one map, of more, and of parts of maps.
MOMENTS = {16: Tiles(128, 4), 32: Tiles(64, 4), 64: Tiles(64, 4), 128: Tiles(32, 8)}
MIX_ONE = {16: Tiles(128, 4), 32: Tiles(64, 4), 64: Tiles(64, 4), 128: Tiles(32, 8)}
MIX_MORE = {16: Tiles(128, 4), 32: Tiles(64, 4), 64: Tiles(32, 4), 128: Tiles(32, 4, 2)}
MIX_PARTS = Tiles(64, 8, 2)
#: Of float32 maps, and of sums in float64.
WIDE = {16: Tiles(64, 4), 32: Tiles(32, 4), 64: Tiles(32, 8)}


class MomentsPlan(NamedTuple):
    """Channels of A and of B that a program of `moments` takes."""

    a: int
    b: int
    tiles: Tiles


class MixPlan(NamedTuple):
    """What a program of `mix` takes.

    Attributes:
        out: channels that it writes.
        sources: channels of each map that are multiplied at a time.
        whole: whether these are all of them, so that a program reads the matrices once.
        tiles: of voxels.
    """

    out: int
    sources: tuple[int, ...]
    whole: bool
    tiles: Tiles


def of_moments(x: Tensor, ca: int, cb: int, exact: bool) -> MomentsPlan:
    """Return the plan for maps like `x` of ca and cb channels; `exact` for sums in float64."""
    most = largest_block(x, exact)
    a, b = _padded(ca, most), _padded(cb, most)
    return MomentsPlan(a, b, (MOMENTS if most == BLOCK else WIDE)[max(a, b)])


def of_mix(x: Tensor, c: int, widths: Sequence[int]) -> MixPlan:
    """Return the plan for c channels made of maps like `x` with these widths."""
    most = largest_block(x)
    blocks = [_padded(width, most) for width in widths]
    whole = max(widths, default=1) <= most and sum(blocks) <= 2 * most
    # The matrices stay in shared memory, so that a wide mixture of more than one map is made in two parts.
    out = _padded(c, PART if len(widths) > 1 and sum(blocks) > BLOCK else most)
    sources = tuple(blocks) if whole else tuple(_padded(width, PART) for width in widths)
    if most == BLOCK_WIDE:
        return MixPlan(out, sources, whole, WIDE[max(out, *sources, 16)])
    table = MIX_MORE if len(widths) > 1 else MIX_ONE
    return MixPlan(out, sources, whole, table[max(out, *sources, 16)] if whole else MIX_PARTS)


def largest_block(x: Tensor, exact: bool = False) -> int:
    """Return the most channels of maps like `x` that a program takes at a time."""
    return BLOCK_WIDE if exact or x.element_size() > 2 else BLOCK


def _padded(channels: int, most: int) -> int:
    """Return a block of channels that tensor cores take, a power of two from 16."""
    return min(most, max(16, 1 << (channels - 1).bit_length()))
