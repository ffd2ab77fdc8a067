"""How much of the liver's surface lies at the edge of the field of view, which cuts it off there."""

import math
from itertools import product

import numpy as np
from jaxtyping import Bool, Int16, UInt8
from numpy import ndarray
from scipy import ndimage

from ltvs.volume.grids import bounding_slices
from ltvs.volume.labels import BACKGROUND

Mask = Bool[ndarray, "d h w"]
Labels = UInt8[ndarray, "d h w"]
Triple = tuple[float, float, float]

#: HU: what fills the space around a scan is not above air. A CT that was clipped to a window has no such values.
_AIR = -1000
#: Voxels along each side of a block that has one value throughout: gas has noise, padding has none.
_BLOCK = 5
#: mm between the liver and padding at most: labels may end before the edge.
_NEAR = 3.0


def area_at_edge(labels: Labels, spacing: Triple) -> float:
    """Return how much of the liver's surface lies at the edge of the volume, where it is cut off, cm².

    Args:
        labels: above 0 in the liver, (d, h, w).
        spacing: mm along d, h, w.
    """
    ends = ((mm, np.moveaxis(labels, axis, 0)[end]) for axis, mm in enumerate(spacing) for end in (0, -1))
    return sum(np.count_nonzero(plane) * math.prod(spacing) / mm for mm, plane in ends) / 100


def area_at_padding(ct: Int16[ndarray, "d h w"], labels: Labels, spacing: Triple) -> float:
    """Return how much of the liver's surface lies at the padding around the reconstructed field, often a circle, cm².

    Padding is the CT's lowest value, -1000 HU or less, or a higher one that fills a corner of the volume; both in
    blocks without noise. Other padding is not recognized. Those faces of voxels count that look at padding within 3 mm.

    Args:
        ct: HU, (d, h, w).
        labels: above 0 in the liver, (d, h, w).
        spacing: mm along d, h, w.
    """
    box, values = bounding_slices(labels > BACKGROUND), _padding_values(ct)
    if box is None or not values:
        return 0.0
    near = [math.ceil(_NEAR / mm) for mm in spacing]
    wide = tuple(
        slice(max(0, part.start - n - _BLOCK), part.stop + n + _BLOCK) for part, n in zip(box, near, strict=True)
    )
    padding = np.isin(ct[wide], values).view(np.uint8)
    blocks = ndimage.minimum_filter(padding, _BLOCK, mode="nearest")
    if not blocks.any():
        return 0.0
    padding = ndimage.maximum_filter(blocks, _BLOCK).view(bool)
    liver, faces = labels[wide] > BACKGROUND, 0.0
    for axis, (mm, steps) in enumerate(zip(spacing, near, strict=True)):
        for direction in (1, -1):
            inside, beyond = (np.moveaxis(mask, axis, 0)[::direction] for mask in (liver, padding))
            faces += _facing(inside, beyond, steps) * math.prod(spacing) / mm
    return faces / 100


def _padding_values(ct: Int16[ndarray, "d h w"]) -> list[int]:
    """Return the HU that padding may have."""
    lowest = int(ct.min())
    values = {lowest} if lowest <= _AIR else set()
    for corner in product((slice(_BLOCK), slice(-_BLOCK, None)), repeat=3):
        low, high = int(ct[corner].min()), int(ct[corner].max())
        # The lowest value alone would be the air of a CT that was clipped to a window.
        if lowest < low == high:
            values.add(low)
    return sorted(values)


def _facing(liver: Mask, padding: Mask, steps: int) -> int:
    """Return how many voxels of the liver end there along the first axis, and have padding within so many steps."""
    near = np.zeros_like(padding)
    for step in range(1, steps + 1):
        near[:-step] |= padding[step:]
    return int(np.count_nonzero(liver[:-1] & ~liver[1:] & near[:-1]))
