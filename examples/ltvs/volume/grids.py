"""Grids of voxels in space: the CT's own and those that the networks see.

Everything is in SimpleITK's order, (x, y, z), and in its physical space in mm. Network grids are canonical: columns,
rows and slices run along the axes nearest to left, back and head, whatever the orientation of the CT. Grids relate to
each other through physical space alone.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import permutations, product
from pathlib import Path
from typing import Any, Self

import numpy as np
import SimpleITK as sitk
from jaxtyping import Bool, UInt8

from ltvs.runtime.errors import InputError, plain

#: The remedy for slices that are shifted against each other.
TILT_REMEDY = "resample it to upright slices first, e.g. with dcm2niix, which corrects the tilt"

#: mm that a voxel of a CT may measure: finer or coarser ones are in another unit, or damaged.
_LENGTHS = (0.01, 100.0)

#: mm from the scanner's origin to a CT.
_FARTHEST = 1e5

#: Cosine between two axes that rounding of their digits explains: it moves the ends of 512 voxels by a quarter of one.
#: A gantry that is tilted by a tenth of a degree has more.
_SKEW = 1e-3


@dataclass(frozen=True)
class Grid:
    """A regular grid of voxels.

    Args:
        size: voxels along x, y, z.
        spacing: mm between voxel centers along x, y, z.
        origin: center of the first voxel, mm.
        direction: 3 x 3 direction cosines, row by row.
    """

    size: tuple[int, int, int]
    spacing: tuple[float, float, float]
    origin: tuple[float, float, float]
    direction: tuple[float, ...]

    @classmethod
    def of(cls, image: sitk.Image) -> Self:
        """Return the grid of an image."""
        return cls(image.GetSize(), image.GetSpacing(), image.GetOrigin(), image.GetDirection())

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Self:
        """Return the grid that `json` describes."""
        return cls(**{name: tuple(content[name]) for name in ("size", "spacing", "origin", "direction")})

    def json(self) -> dict[str, Any]:
        """Return the grid as JSON holds it."""
        return asdict(self)

    def physical(self, index: Sequence[float] | np.ndarray) -> np.ndarray:
        """Return the point in mm of a (fractional) index."""
        return self.origin + np.reshape(self.direction, (3, 3)) @ np.multiply(index, self.spacing)

    def index(self, point: Sequence[float] | np.ndarray) -> np.ndarray:
        """Return the (fractional) index of a point in mm."""
        index: np.ndarray = np.linalg.solve(np.reshape(self.direction, (3, 3)), np.subtract(point, self.origin))
        return index / self.spacing

    def corners(self, edge: float = 0.0) -> np.ndarray:
        """Return the eight points, mm, `edge` voxels outside the centers of the corner voxels, (8, 3)."""
        ends = ((-edge, n - 1 + edge) for n in self.size)
        return np.array([self.physical(index) for index in product(*ends)])

    def differences(self, expected: Self) -> str:
        """Return in words where this grid differs from the one expected."""
        pairs = ((key, own, asdict(expected)[key]) for key, own in asdict(self).items())
        return "; ".join(f"{key} {plain(own)}, expected {plain(other)}" for key, own, other in pairs if own != other)

    def place(self, image: sitk.Image) -> sitk.Image:
        """Put an image of this grid's size, made from an array, on this grid and return it."""
        if image.GetSize() != self.size:
            raise ValueError(f"Grid.place: expected an image of size {self.size}; got {image.GetSize()}")
        image.SetSpacing(self.spacing)
        image.SetOrigin(self.origin)
        image.SetDirection(self.direction)
        return image


def sound_grid(path: Path, size: Sequence[int], affine: np.ndarray) -> Grid:
    """Return the grid that an affine map describes, with its axes made perpendicular where rounding skewed them.

    Args:
        path: of the volume, for messages.
        size: voxels along x, y, z.
        affine: 4 x 4; `affine @ (*index, 1)` is the place of a voxel, mm.

    Raises:
        InputError: it is not finite, a voxel has no length or one that no CT has, or axes are not at right angles.
    """
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    low, high = _LENGTHS
    if not (np.isfinite(affine).all() and low <= spacing.min() and spacing.max() <= high):
        raise InputError(
            f"{path}: expected voxels of {low:g} to {high:g} mm at a finite place, got "
            f"{' x '.join(f'{mm:.4g}' for mm in spacing)} mm at {plain(affine[:3, 3].tolist())}; convert the CT again"
        )
    if np.abs(affine[:3, 3]).max() > _FARTHEST:
        raise InputError(
            f"{path}: expected a place within {_FARTHEST / 1000:g} m of the scanner's origin, got "
            f"{plain(affine[:3, 3].tolist())} mm; convert the CT again"
        )
    direction = affine[:3, :3] / spacing
    skew = float(np.abs(direction.T @ direction - np.eye(3)).max())
    if skew > _SKEW:
        raise InputError(
            f"{path}: expected axes at right angles, got a cosine of {skew:.2g} between two; was the gantry tilted? "
            f"{TILT_REMEDY}"
        )
    for _ in range(2):  # Newton's steps to the nearest rotation: exact axes stay as they are
        direction = direction @ (3 * np.eye(3) - direction.T @ direction) / 2
    return _grid(np.array(size), spacing, affine[:3, 3], direction)


def canonical_grid(grid: Grid) -> Grid:
    """Swap and flip axes so that they lie nearest to left, back and head; an oblique grid stays oblique."""
    columns = np.reshape(grid.direction, (3, 3))
    # The voxel axes along x, y, z: the assignment that agrees best, so that no axis is taken twice.
    along = list(max(permutations(range(3)), key=lambda order: sum(abs(columns[i, j]) for i, j in enumerate(order))))
    signs = np.array([1.0 if columns[i, j] >= 0 else -1.0 for i, j in enumerate(along)])
    first = np.zeros(3)
    for sign, axis in zip(signs, along, strict=True):
        first[axis] = 0 if sign > 0 else grid.size[axis] - 1
    size, spacing = np.array(grid.size)[along], np.array(grid.spacing)[along]
    return _grid(size, spacing, grid.physical(first), columns[:, along] * signs)


def whole_grid(ct: sitk.Image, pixels: int = 320, slice_spacing: float = 1.0) -> Grid:
    """Return the grid over the whole CT: `pixels` x `pixels`, slices `slice_spacing` mm apart.

    The field of view goes from voxel edge to voxel edge, so it does not shift by half a voxel.
    """
    grid = canonical_grid(Grid.of(ct))
    return _grid_over(grid, np.full(3, -0.5), np.array(grid.size) - 0.5, pixels, slice_spacing)


def liver_grid(liver: sitk.Image, pixels: int = 320, slice_spacing: float = 1.0, margin: float = 10.0) -> Grid:
    """Return the grid over a box around the liver, square in-plane, with slices `slice_spacing` mm apart.

    Args:
        liver: mask, above 0 in the liver.
        pixels: rows and columns.
        slice_spacing: mm.
        margin: mm on every side; the box may extend beyond the CT.

    Raises:
        InputError: the mask is empty.
    """
    box = bounding_box(liver)
    if box is None:
        raise InputError("no liver: expected a mask with voxels above 0, got an empty one")
    grid = canonical_grid(Grid.of(liver))
    corners = [np.subtract(box[0], 0.5), np.add(box[1], 0.5)]
    corners = [grid.index(Grid.of(liver).physical(corner)) for corner in corners]
    low, high = np.min(corners, axis=0), np.max(corners, axis=0)
    low, high = low - margin / np.array(grid.spacing), high + margin / np.array(grid.spacing)
    middle, side = (low + high) / 2, max((high - low)[:2] * grid.spacing[:2])
    half = side / 2 / np.array(grid.spacing[:2])
    low[:2], high[:2] = middle[:2] - half, middle[:2] + half
    return _grid_over(grid, low, high, pixels, slice_spacing)


def bounding_box(labels: sitk.Image) -> tuple[tuple[int, int, int], tuple[int, int, int]] | None:
    """Return the first and the last voxel, (x, y, z), of the bounding box of labels above 0; None if there are none."""
    values = sitk.GetArrayViewFromImage(labels)
    # Where no value is below 0, it counts as it is: a mask of a whole CT takes time and memory.
    box = bounding_slices(values if values.dtype.kind == "u" else values > 0)
    if box is None:
        return None
    z, y, x = box
    return (x.start, y.start, z.start), (x.stop - 1, y.stop - 1, z.stop - 1)


def bounding_slices(
    mask: Bool[np.ndarray, "d h w"] | UInt8[np.ndarray, "d h w"],
) -> tuple[slice, slice, slice] | None:
    """Return the slices of an array (d, h, w) that hold all of what is not 0 in it; None if all is 0."""
    rows = np.asarray(mask.any(axis=0))
    spans = [np.flatnonzero(line) for line in (mask.any(axis=(1, 2)), rows.any(axis=1), rows.any(axis=0))]
    if spans[0].size == 0:
        return None
    d, h, w = (slice(int(span[0]), int(span[-1]) + 1) for span in spans)
    return d, h, w


def crop_grid(grid: Grid, start: Sequence[int], size: Sequence[int]) -> Grid:
    """Return the box of `size` voxels of `grid` whose first voxel is `start`, both (x, y, z)."""
    return _grid(np.array(size), np.array(grid.spacing), grid.physical(start), np.reshape(grid.direction, (3, 3)))


def overlap(grid: Grid, target: Grid) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return first voxel and size, (x, y, z), of the smallest box of `target` with every voxel that lies in `grid`.

    The size is 0 along an axis where they do not meet.
    """
    points = np.array([target.index(corner) for corner in grid.corners(edge=0.5)])
    # A thousandth of a voxel more on every side, so that rounding cannot lose a voxel on the edge.
    low = np.clip(np.ceil(points.min(axis=0) - 1e-3), 0, target.size).astype(int)
    high = np.clip(np.floor(points.max(axis=0) + 1e-3) + 1, low, target.size).astype(int)
    return tuple(low.tolist()), tuple((high - low).tolist())


def _grid_over(grid: Grid, low: np.ndarray, high: np.ndarray, pixels: int, slice_spacing: float) -> Grid:
    """Return the grid over the box of `grid` from index `low` to `high`, both fractional and (x, y, z)."""
    extent = (high - low) * grid.spacing
    # The slices keep their spacing exactly and cover the box: together they reach beyond it by less than one slice.
    size = np.array([pixels, pixels, max(1, math.ceil(extent[2] / slice_spacing - 1e-3))])
    spacing = np.array([extent[0] / pixels, extent[1] / pixels, slice_spacing])
    first = (low + high) / 2 - (size - 1) * spacing / 2 / grid.spacing
    return _grid(size, spacing, grid.physical(first), np.reshape(grid.direction, (3, 3)))


def _grid(size: np.ndarray, spacing: np.ndarray, origin: np.ndarray, direction: np.ndarray) -> Grid:
    x, y, z = (int(n) for n in size)
    dx, dy, dz = (float(mm) for mm in spacing)
    ox, oy, oz = (float(mm) for mm in origin)
    return Grid((x, y, z), (dx, dy, dz), (ox, oy, oz), tuple(float(c) for c in direction.ravel()))
