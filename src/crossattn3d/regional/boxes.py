"""Boxes of voxels: the tiles that hold a mask, and boxes that grow within a volume."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool
from numpy import ndarray

Box = tuple[slice, slice, slice]
Mask = Bool[ndarray, "d h w"]


def grown(box: Box, voxels: int, size: Sequence[int]) -> Box:
    """Return a box that is larger by some voxels on every side, as far as the volume reaches.

    Examples:
        >>> grown((slice(0, 2), slice(3, 5), slice(4, 5)), 1, (9, 9, 5))
        (slice(0, 3, None), slice(2, 6, None), slice(3, 5, None))
    """
    d, h, w = (slice(max(0, s.start - voxels), min(n, s.stop + voxels)) for s, n in zip(box, size, strict=True))
    return d, h, w


def within(box: Box, outer: Box) -> Box:
    """Return a box that lies in another one, counted from that one's first voxel.

    Examples:
        >>> within((slice(2, 3), slice(4, 6), slice(5, 9)), (slice(2, 8), slice(1, 9), slice(5, 9)))
        (slice(0, 1, None), slice(3, 5, None), slice(0, 4, None))
    """
    d, h, w = (slice(s.start - o.start, s.stop - o.start) for s, o in zip(box, outer, strict=True))
    return d, h, w


def dilated(mask: Mask, voxels: int) -> Mask:
    """Return a mask that is larger by some voxels in every direction, diagonals included."""
    result = mask.copy()
    for axis in range(3):
        along = np.moveaxis(result, axis, 0)
        before = along.copy()
        for shift in range(1, min(voxels, len(along) - 1) + 1):
            along[shift:] |= before[:-shift]
            along[:-shift] |= before[shift:]
    return result


def tiles(mask: Mask, side: int) -> list[Box]:
    """Return boxes that do not overlap and hold all of a mask: of squares of rows and columns, as far as it reaches.

    All slices of a tile lie in one box, since neighboring slices of an organ are much alike.

    Args:
        mask: (d, h, w).
        side: voxels along h and w.
    """
    found = []
    for top in range(0, mask.shape[1], side):
        for left in range(0, mask.shape[2], side):
            box = _bounds(mask[:, top : top + side, left : left + side])
            if box is not None:
                d, h, w = box
                found.append((d, slice(top + h.start, top + h.stop), slice(left + w.start, left + w.stop)))
    return found


def _bounds(mask: Mask) -> Box | None:
    plane = np.asarray(mask.any(axis=0))
    spans = [np.flatnonzero(line) for line in (mask.any(axis=(1, 2)), plane.any(axis=1), plane.any(axis=0))]
    if not spans[0].size:
        return None
    d, h, w = (slice(int(span[0]), int(span[-1]) + 1) for span in spans)
    return d, h, w
