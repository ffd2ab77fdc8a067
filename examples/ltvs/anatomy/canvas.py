"""The canvas a patient is painted on: voxels with coordinates in mm, each tissue painted over those below it.

x points to the patient's left, y to the back, z to the head; (0, 0, 0) is the middle of the body at the height of the
porta hepatis. Shapes are level-set functions: mm to the surface, positive inside.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy import ndarray

from ltvs.anatomy.tissues import Tissue

Box = tuple[slice, slice, slice]
Point = ndarray | Sequence[float]
#: A level-set function of x, y, z, which are shaped (1, 1, w), (1, h, 1) and (d, 1, 1).
Level = Callable[[ndarray, ndarray, ndarray], ndarray]
#: Tissues from the lowest to the topmost: mm to the surface, and which it is.
Tissues = Iterator[tuple[ndarray, Tissue]]
#: The tissues at coordinates, as for `Level`.
Layers = Callable[[ndarray, ndarray, ndarray], Tissues]

#: Corners of a box around everything, mm.
LOWEST, HIGHEST = (-1e4,) * 3, (1e4,) * 3
#: Layers are painted in slabs of about this many voxels, so that they need little memory besides the map.
_SLAB = 1 << 20


class Region(NamedTuple):
    """A shape sampled on voxels: mm to its surface, positive inside, (z, y, x) over a box of the volume."""

    box: Box
    level: ndarray


@dataclass
class Canvas:
    """Voxel coordinates and the tissues painted so far.

    Attributes:
        x: coordinates of columns, mm.
        y: coordinates of rows, mm.
        z: coordinates of slices, mm.
        tissue: the map, (z, y, x), uint8.
    """

    x: ndarray
    y: ndarray
    z: ndarray
    tissue: ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.tissue = np.full((len(self.z), len(self.y), len(self.x)), Tissue.AIR, dtype=np.uint8)

    def box(self, low: Point, high: Point) -> Box:
        """Return the voxels from `low` to `high`, (x, y, z) in mm, clipped to the volume."""
        where = []
        for axis, a, b in zip((self.z, self.y, self.x), low[::-1], high[::-1], strict=True):
            where.append(slice(int(np.searchsorted(axis, a)), int(np.searchsorted(axis, b, side="right"))))
        return where[0], where[1], where[2]

    def coordinates(self, box: Box) -> tuple[ndarray, ndarray, ndarray]:
        """Return x, y, z of a box's voxels, ready to broadcast to (z, y, x)."""
        return self.x[box[2]][None, None, :], self.y[box[1]][None, :, None], self.z[box[0]][:, None, None]

    def region(self, shape: Level, low: Point = LOWEST, high: Point = HIGHEST) -> Region:
        """Sample a shape on the voxels from `low` to `high` mm."""
        box = self.box(low, high)
        level = np.empty([s.stop - s.start for s in box], dtype=np.float32)
        for slab in _slabs(box):
            start = box[0].start
            level[slab[0].start - start : slab[0].stop - start] = shape(*self.coordinates(slab))
        return Region(box, level)

    def paint(self, layers: Layers, low: Point = LOWEST, high: Point = HIGHEST) -> None:
        """Paint tissues over the map, the lowest first, on the voxels from `low` to `high` mm."""
        for slab in _slabs(self.box(low, high)):
            for level, tissue in layers(*self.coordinates(slab)):
                self.fill(Region(slab, level), tissue)

    def fill(self, region: Region, tissue: Tissue) -> None:
        """Paint one tissue over the map."""
        view = self.tissue[region.box]
        np.copyto(view, np.uint8(tissue), where=np.broadcast_to(region.level > 0, view.shape))


def _slabs(box: Box) -> Iterator[Box]:
    rows, columns = (max(s.stop - s.start, 0) for s in box[1:])
    if rows and columns:
        thickness = max(1, _SLAB // (rows * columns))
        for start in range(box[0].start, box[0].stop, thickness):
            yield slice(start, min(start + thickness, box[0].stop)), box[1], box[2]


def ellipsoid(center: Point, radii: Point, tilt: float = 0.0) -> Level:
    """Return an ellipsoid, turned about z by `tilt` radians."""
    # Python's numbers: NumPy's would make double precision of single.
    (cx, cy, cz), (rx, ry, rz) = (tuple(float(value) for value in point) for point in (center, radii))
    cos, sin = math.cos(tilt), math.sin(tilt)
    size = 3 / (1 / rx + 1 / ry + 1 / rz)

    def level(x: ndarray, y: ndarray, z: ndarray) -> ndarray:
        u, v = (x - cx) * cos + (y - cy) * sin, (y - cy) * cos - (x - cx) * sin
        return np.asarray(size * (1 - np.sqrt(((u / rx) ** 2 + (v / ry) ** 2) + ((z - cz) / rz) ** 2)))

    return level


def waves(rng: np.random.Generator, amplitude: float, length: float, count: int = 6) -> Level:
    """Return a smooth random field of standard deviation `amplitude`: waves of about `length` mm, in all directions."""
    directions = rng.standard_normal((count, 3))
    directions *= 2 * np.pi / length / np.linalg.norm(directions, axis=1, keepdims=True)
    directions *= rng.uniform(0.6, 1.5, (count, 1))
    kx, ky, kz = directions.astype(np.float32).T[..., None, None]
    phases = rng.uniform(0, 2 * np.pi, (count, 1, 1)).astype(np.float32)
    scale = np.float32(amplitude * np.sqrt(2 / count))

    def field_of(x: ndarray, y: ndarray, z: ndarray) -> ndarray:
        # sin(a + b) from sines of a in a slice and b along the slices: a matrix product instead of a sine per voxel.
        across, along = kx * x[0] + ky * y[0] + phases, kz[:, 0] * z.reshape(1, -1)
        slices = np.concatenate([np.cos(along), np.sin(along)])
        in_slice = np.concatenate([np.sin(across), np.cos(across)])
        total = slices.T @ in_slice.reshape(2 * count, -1)
        return np.asarray(scale * total.reshape(z.size, *across.shape[1:]))

    return field_of


def smooth_max(a: ndarray, b: ndarray, radius: float) -> ndarray:
    """Return the union of two shapes with a fillet of about `radius` mm."""
    h = np.clip(0.5 + (a - b) / (2 * radius), 0, 1)
    return np.asarray(b + (a - b) * h + radius * h * (1 - h))


def smooth_min(a: ndarray, b: ndarray, radius: float) -> ndarray:
    """Return the intersection of two shapes with a fillet of about `radius` mm."""
    return -smooth_max(-a, -b, radius)
