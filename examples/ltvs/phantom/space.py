"""The space a phantom is painted in: voxel coordinates in mm, tissue laid over tissue with soft edges.

x points to the patient's left, y to the back, z to the head; (0, 0, 0) is the middle of the body at the height of the
porta hepatis. Shapes are level functions: mm to the surface, positive inside.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy import ndarray

Box = tuple[slice, slice, slice]
Level = Callable[[ndarray, ndarray, ndarray], ndarray]
Point = ndarray | Sequence[float]


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

    def level(self, shape: Level, low: Point, high: Point) -> Region:
        """A shape's level function over the voxels from `low` to `high` mm."""
        box = self.box(low, high)
        return Region(box, np.asarray(shape(*self.coordinates(box)), dtype=np.float32))

    def paint(self, box: Box, level: ndarray, hu: float | ndarray) -> None:
        """Lay tissue of `hu` over what is there; at the surface a voxel is part one, part the other."""
        share = np.clip(level / self.voxel + 0.5, 0, 1)
        self.hu[box] += share * (hu - self.hu[box])


def ellipsoid(center: Point, radii: Point, tilt: float = 0.0) -> Level:
    """An ellipsoid; `tilt` turns it about z, radians."""
    (cx, cy, cz), (rx, ry, rz) = center, radii
    cos, sin = np.cos(tilt), np.sin(tilt)
    size = 3 / (1 / rx + 1 / ry + 1 / rz)

    def level(x: ndarray, y: ndarray, z: ndarray) -> ndarray:
        u, v = (x - cx) * cos + (y - cy) * sin, (y - cy) * cos - (x - cx) * sin
        return np.asarray(size * (1 - np.sqrt((u / rx) ** 2 + (v / ry) ** 2 + ((z - cz) / rz) ** 2)))

    return level


def waves(rng: np.random.Generator, amplitude: float, length: float, count: int = 6) -> Level:
    """A smooth random field: waves of about `length` mm in random directions, with standard deviation `amplitude`."""
    directions = rng.standard_normal((count, 3))
    directions *= 2 * np.pi / length / np.linalg.norm(directions, axis=1, keepdims=True)
    directions *= rng.uniform(0.6, 1.5, (count, 1))
    phases = rng.uniform(0, 2 * np.pi, count)
    scale = amplitude * np.sqrt(2 / count)

    def field_of(x: ndarray, y: ndarray, z: ndarray) -> ndarray:
        total = np.zeros(np.broadcast_shapes(x.shape, y.shape, z.shape), dtype=np.float32)
        for (kx, ky, kz), phase in zip(directions.astype(np.float32), phases.astype(np.float32), strict=True):
            # sin(a + b) from sines of a and b: two products a voxel instead of a sine.
            in_plane = kx * x + ky * y + phase
            along = kz * z
            total += np.sin(in_plane) * np.cos(along) + np.cos(in_plane) * np.sin(along)
        return np.asarray(scale * total)

    return field_of


def smooth_max(a: ndarray, b: ndarray, radius: float) -> ndarray:
    """Union of two shapes with a fillet of about `radius` mm."""
    h = np.clip(0.5 + (a - b) / (2 * radius), 0, 1)
    return np.asarray(b + (a - b) * h + radius * h * (1 - h))


def smooth_min(a: ndarray, b: ndarray, radius: float) -> ndarray:
    """Intersection of two shapes with a fillet of about `radius` mm."""
    return -smooth_max(-a, -b, radius)
