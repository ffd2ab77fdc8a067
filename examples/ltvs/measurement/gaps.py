"""Distances between the surfaces of two shapes of voxels, 0 where they touch.

Voxels are boxes. Two of them, `n` steps apart along an axis with a spacing of `s` mm, leave a gap of max(|n| - 1, 0) s
between them along it. That is the distance from the center of the first to the nearest voxel center among the second
and its 26 neighbors. So a shape is grown by one voxel on every side, and distances to it are those between centers.
"""

from dataclasses import dataclass
from itertools import product
from typing import Any, Self

import numpy as np
from jaxtyping import Bool, Float64, Int
from numpy import ndarray
from scipy.spatial import cKDTree

Mask = Bool[ndarray, "d h w"]

#: Of so many voxels, one is looked up first.
_SOME = 64


@dataclass(frozen=True)
class Neighbor:
    """A shape that distances are measured to.

    Args:
        mask: its voxels.
        touched: these and all that share at least a corner with one.
        tree: the outermost of these voxels, mm.
        spacing: mm along d, h, w.
    """

    mask: Mask
    touched: Mask
    tree: Any
    spacing: tuple[float, float, float]

    @classmethod
    def of(cls, mask: Mask, spacing: tuple[float, float, float]) -> Self | None:
        """Return the shape that is a mask; None if it is empty."""
        if not mask.any():
            return None
        touched = _grown(mask)
        # A tree of what faces other voxels needs far less time and memory than distances of a whole volume.
        edge = touched & _grown(~touched, corners=False)
        points = np.argwhere(edge) * np.array(spacing)
        return cls(mask, touched, cKDTree(points, balanced_tree=False, compact_nodes=False), spacing)

    def distance(self, voxels: Int[ndarray, "n 3"]) -> float:
        """Return the distance between the shape and the nearest of one or more voxels (d, h, w), mm, of surfaces."""
        if self.touched[tuple(voxels.T)].any():
            return 0.0
        points = voxels * np.array(self.spacing)
        # No voxel that is farther away than the nearest of some has to be looked up to the end.
        some, _ = self.tree.query(points[::_SOME])
        nearest = float(some.min())
        distances, _ = self.tree.query(points, distance_upper_bound=nearest)
        return min(nearest, float(distances.min()))

    def are_within(self, points: Float64[ndarray, "n 3"], limit: float) -> Bool[ndarray, " n"]:
        """Return which points, in voxels, (d, h, w), lie at most so many mm from the shape.

        Points lie at centers of voxels or halfway between them. For these, the nearest point of a voxel, which is a
        box, is among its center, its corners, and the middles of its edges and sides.
        """
        reach = np.ceil(np.array(limit) / self.spacing).astype(int) + 1
        first = np.maximum(np.floor(points.min(axis=0)).astype(int) - reach, 0)
        last = np.ceil(points.max(axis=0)).astype(int) + reach
        near = np.pad(self.mask[tuple(slice(a, b + 1) for a, b in zip(first, last, strict=True))], 1)
        edge = near & _grown(~near, corners=False)
        if not edge.any():
            return np.zeros(len(points), dtype=bool)
        halves = (2 * np.argwhere(edge)[:, None] + [*product((-1, 0, 1), repeat=3)]).reshape(-1, 3)
        boxes = (np.unique(halves, axis=0) / 2 + first - 1) * self.spacing
        distances, _ = cKDTree(boxes).query(points * self.spacing, distance_upper_bound=limit + 1e-6)
        return np.asarray(np.isfinite(distances))


def _grown(mask: Mask, *, corners: bool = True) -> Mask:
    """Return a mask and the voxels that share a face with it, or at least a corner."""
    grown = mask.copy()
    for axis in range(3):
        source = np.moveaxis(grown.copy() if corners else mask, axis, 0)
        target = np.moveaxis(grown, axis, 0)
        target[1:] |= source[:-1]
        target[:-1] |= source[1:]
    return grown
