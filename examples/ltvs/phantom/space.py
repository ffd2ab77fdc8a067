"""The space a phantom is painted in: voxel coordinates in mm, tissue laid over tissue with soft edges.

x points to the patient's left, y to the back, z to the head; (0, 0, 0) is the middle of the body at the height of the
porta hepatis. Shapes are level functions: mm to the surface, positive inside.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy import ndarray

Box = tuple[slice, slice, slice]
Point = ndarray | Sequence[float]
#: Of coordinates shaped (1, 1, w), (1, h, 1) and (d, 1, 1).
Level = Callable[[ndarray, ndarray, ndarray], ndarray]
#: What lies over what at coordinates, from below: mm to its surface, and HU.
Layers = Callable[[ndarray, ndarray, ndarray], Iterator[tuple[ndarray, float | ndarray]]]

#: Corners of a box around everything, mm.
LOWEST, HIGHEST = (-1e4,) * 3, (1e4,) * 3
#: Layers are painted in slabs of about this many voxels, so that what they need besides the CT stays small.
_SLAB = 1 << 21


class Region(NamedTuple):
    """A shape on voxels: mm to its surface, positive inside, (z, y, x) over a box of the volume."""

    box: Box
    level: ndarray


@dataclass
class Space:
    """Voxels and their HU.

    Args:
        x, y, z: coordinates of columns, rows and slices, mm.
        hu: the CT so far, (z, y, x).
    """

    x: ndarray
    y: ndarray
    z: ndarray
    hu: ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.hu = np.full((len(self.z), len(self.y), len(self.x)), -1000, dtype=np.float32)

    @property
    def voxel(self) -> float:
        """In-plane size of a voxel, mm."""
        return float(self.x[1] - self.x[0])

    def box(self, low: Point, high: Point) -> Box:
        """The voxels from `low` to `high`, (x, y, z) in mm, cut to the volume."""
        where = []
        for axis, a, b in zip((self.z, self.y, self.x), low[::-1], high[::-1], strict=True):
            where.append(slice(int(np.searchsorted(axis, a)), int(np.searchsorted(axis, b, side="right"))))
        return where[0], where[1], where[2]

    def coordinates(self, box: Box) -> tuple[ndarray, ndarray, ndarray]:
        """x, y, z of a box's voxels, ready to broadcast to (z, y, x)."""
        return self.x[box[2]][None, None, :], self.y[box[1]][None, :, None], self.z[box[0]][:, None, None]

    def region(self, shape: Level, low: Point = LOWEST, high: Point = HIGHEST) -> Region:
        """A shape on the voxels from `low` to `high` mm."""
        box = self.box(low, high)
        level = np.empty([s.stop - s.start for s in box], dtype=np.float32)
        for slab in _slabs(box):
            start = box[0].start
            level[slab[0].start - start : slab[0].stop - start] = shape(*self.coordinates(slab))
        return Region(box, level)

    def paint(self, layers: Layers, low: Point = LOWEST, high: Point = HIGHEST) -> None:
        """Lay tissues over what is there, in the order they come, on the voxels from `low` to `high` mm."""
        for slab in _slabs(self.box(low, high)):
            for level, hu in layers(*self.coordinates(slab)):
                self.lay(Region(slab, level), hu)

    def lay(self, region: Region, hu: float | ndarray) -> None:
        """Lay tissue of `hu` over what is there; at the surface a voxel is part one, part the other."""
        share = np.clip(region.level / self.voxel + 0.5, 0, 1)
        if share.any():
            self.hu[region.box] += share * (hu - self.hu[region.box])


def _slabs(box: Box) -> Iterator[Box]:
    rows, columns = (max(s.stop - s.start, 0) for s in box[1:])
    if rows and columns:
        thickness = max(1, _SLAB // (rows * columns))
        for start in range(box[0].start, box[0].stop, thickness):
            yield slice(start, min(start + thickness, box[0].stop)), box[1], box[2]


def ellipsoid(center: Point, radii: Point, tilt: float = 0.0) -> Level:
    """An ellipsoid; `tilt` turns it about z, radians."""
    (cx, cy, cz), (rx, ry, rz) = center, radii
    cos, sin = np.cos(tilt), np.sin(tilt)
    size = 3 / (1 / rx + 1 / ry + 1 / rz)

    def level(x: ndarray, y: ndarray, z: ndarray) -> ndarray:
        u, v = (x - cx) * cos + (y - cy) * sin, (y - cy) * cos - (x - cx) * sin
        return np.asarray(size * (1 - np.sqrt(((u / rx) ** 2 + (v / ry) ** 2) + ((z - cz) / rz) ** 2)))

    return level


def waves(rng: np.random.Generator, amplitude: float, length: float, count: int = 6) -> Level:
    """A smooth random field: waves of about `length` mm in random directions, with standard deviation `amplitude`."""
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
    """Union of two shapes with a fillet of about `radius` mm."""
    h = np.clip(0.5 + (a - b) / (2 * radius), 0, 1)
    return np.asarray(b + (a - b) * h + radius * h * (1 - h))


def smooth_min(a: ndarray, b: ndarray, radius: float) -> ndarray:
    """Intersection of two shapes with a fillet of about `radius` mm."""
    return -smooth_max(-a, -b, radius)
