"""Lesions one by one: the connected components of a mask."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int32
from numpy import ndarray
from scipy import ndimage

from ltvs.volume.grids import bounding_slices

Mask = Bool[ndarray, "d h w"]

#: Voxels that share a corner belong to one lesion: 26 neighbors.
CONNECTIVITY = np.ones((3, 3, 3), dtype=bool)


@dataclass(frozen=True)
class Component:
    """A connected component of a mask.

    Args:
        box: where it lies in the array, (d, h, w).
        mask: the component alone, in its box.
    """

    box: tuple[slice, slice, slice]
    mask: Mask

    @property
    def first(self) -> tuple[int, int, int]:
        """The first voxel of the box, (x, y, z)."""
        z, y, x = (part.start for part in self.box)
        return x, y, z


def components(mask: Mask) -> list[Component]:
    """Return the connected components of a mask, those with the most voxels first; equal ones as the array has them.

    Example:
        >>> mask = np.zeros((2, 3, 9), dtype=bool)
        >>> mask[0, 0, 0] = mask[1, 1, 6:8] = True
        >>> [int(component.mask.sum()) for component in components(mask)]
        [2, 1]
    """
    box = bounding_slices(mask)
    if box is None:
        return []
    # Numbers take four bytes a voxel: only in the box.
    parts: Int32[ndarray, "d h w"]
    parts, count = ndimage.label(mask[box], CONNECTIVITY)
    found = []
    for number, (d, h, w) in enumerate(ndimage.find_objects(parts, count), 1):
        placed = [slice(p.start + b.start, p.stop + b.start) for p, b in zip((d, h, w), box, strict=True)]
        found.append(Component((placed[0], placed[1], placed[2]), parts[d, h, w] == number))
    return sorted(found, key=lambda component: -np.count_nonzero(component.mask))
