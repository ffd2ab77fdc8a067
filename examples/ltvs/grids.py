"""Where voxels lie in space: the CT's own grid and the grids the networks see, as plain values.

Everything is in SimpleITK's order, (x, y, z), and in its physical space in mm. Network grids are canonical: rows,
columns and slices lie along the axes nearest to left-right, front-back and feet-head, with slices towards the head,
whatever the orientation of the CT. Grids relate to each other through physical space alone.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
import SimpleITK as sitk

from ltvs.errors import InputError


@dataclass(frozen=True)
class Grid:
    """A regular grid of voxels.

    Args:
        size: voxels along x, y, z.
        spacing: mm between voxel centres along x, y, z.
        origin: centre of the first voxel, mm.
        direction: 3 x 3 direction cosines, row by row.
    """

    size: tuple[int, int, int]
    spacing: tuple[float, float, float]
    origin: tuple[float, float, float]
    direction: tuple[float, ...]

    @classmethod
    def of(cls, image: sitk.Image) -> Self:
        """The grid of an image."""
        return cls(image.GetSize(), image.GetSpacing(), image.GetOrigin(), image.GetDirection())

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Self:
        """The inverse of `json`."""
        return cls(**{name: tuple(content[name]) for name in ("size", "spacing", "origin", "direction")})

    def json(self) -> dict[str, Any]:
        """The grid as JSON holds it."""
        return asdict(self)

    def physical(self, index: Sequence[float] | np.ndarray) -> np.ndarray:
        """The point in mm of a (fractional) index."""
        return self.origin + np.reshape(self.direction, (3, 3)) @ np.multiply(index, self.spacing)

    def index(self, point: Sequence[float] | np.ndarray) -> np.ndarray:
        """The (fractional) index of a point in mm."""
        index: np.ndarray = np.linalg.solve(np.reshape(self.direction, (3, 3)), np.subtract(point, self.origin))
        return index / self.spacing

    def place(self, image: sitk.Image) -> sitk.Image:
        """Give `image`, made from an array of this grid's size, its place in space; return it."""
        if image.GetSize() != self.size:
            raise ValueError(f"Grid.place: expected an image of size {self.size}; got {image.GetSize()}")
        image.SetSpacing(self.spacing)
        image.SetOrigin(self.origin)
        image.SetDirection(self.direction)
        return image


def canonical(image: sitk.Image) -> sitk.Image:
    """The same voxels with axes swapped and flipped to lie nearest to left, back and head; nothing is resampled."""
    return sitk.DICOMOrient(image, "LPS")


def whole_grid(ct: sitk.Image, pixels: int, slice_spacing: float) -> Grid:
    """The CT's own field of view in `pixels` x `pixels`, with slices `slice_spacing` mm apart.

    The field of view is measured from voxel edge to voxel edge, so it does not shift by half a voxel.
    """
    ct = canonical(ct)
    extent = np.multiply(ct.GetSize(), ct.GetSpacing())
    return _grid_over(ct, np.zeros(3), extent, pixels, slice_spacing)


def liver_grid(liver: sitk.Image, pixels: int, slice_spacing: float, margin: float) -> Grid:
    """A box around the liver, square in-plane, in `pixels` x `pixels`, with slices `slice_spacing` mm apart.

    Args:
        liver: mask, above 0 in the liver.
        pixels: rows and columns.
        slice_spacing: mm.
        margin: mm on every side; the box may reach beyond the CT.

    Raises:
        InputError: the mask is empty.
    """
    liver = canonical(liver)
    mask = sitk.GetArrayViewFromImage(liver) > 0
    if not mask.any():
        raise InputError("no liver: the mask is empty")
    spacing = np.array(liver.GetSpacing())
    low, high = np.empty(3), np.empty(3)
    for axis in range(3):
        inside = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != 2 - axis)))
        low[axis], high[axis] = inside[0] * spacing[axis] - margin, (inside[-1] + 1) * spacing[axis] + margin
    side = max(high[:2] - low[:2])
    middle = (low[:2] + high[:2]) / 2
    low[:2], high[:2] = middle - side / 2, middle + side / 2
    return _grid_over(liver, low, high, pixels, slice_spacing)


def _grid_over(image: sitk.Image, low: np.ndarray, high: np.ndarray, pixels: int, slice_spacing: float) -> Grid:
    """The grid over the box from `low` to `high`, mm along the image's axes from the edge of its first voxel."""
    slices = max(1, round((high[2] - low[2]) / slice_spacing))
    # The slices keep their spacing exactly; the box grows or shrinks by less than half a slice at both ends.
    spare = (high[2] - low[2] - slices * slice_spacing) / 2
    spacing = np.array([(high[0] - low[0]) / pixels, (high[1] - low[1]) / pixels, slice_spacing])
    first = low + spacing / 2 + (0, 0, spare)
    origin = Grid.of(image).physical(first / image.GetSpacing() - 0.5)
    return Grid((pixels, pixels, slices), tuple(spacing.tolist()), tuple(origin.tolist()), image.GetDirection())
