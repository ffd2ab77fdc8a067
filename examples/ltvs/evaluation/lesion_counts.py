"""Tumors counted one by one: which of the reference are found, and which of the prediction are confirmed.

A lesion is a connected component whose voxels share at least a corner. A lesion of the reference is found if at least a
tenth of its voxels is predicted, and missed otherwise. A lesion of the prediction is confirmed if at least a tenth of
its voxels is in the reference, and false otherwise. So one predicted lesion can find several, and several can find one.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ltvs.evaluation.metrics import Mask
from ltvs.measurement.components import Component, components
from ltvs.measurement.diameters import longest_axial_diameter
from ltvs.volume.grids import Grid, crop_grid

#: Share of a lesion that has to lie in the other mask, so that a touch is no hit.
OVERLAP = 0.1

#: Longest axial diameters, mm: below the first a lesion is small, above the last it is large.
DIAMETERS = (10.0, 20.0)
SIZES = ("under_10_mm", "10_to_20_mm", "over_20_mm")


@dataclass(frozen=True)
class LesionCounts:
    """Connected parts of a reference and of a prediction.

    Args:
        reference: of the reference.
        found: those of them that the prediction has a tenth of, or more.
        predicted: of the prediction.
        confirmed: those of them that the reference has a tenth of, or more.
    """

    reference: int = 0
    found: int = 0
    predicted: int = 0
    confirmed: int = 0

    def __add__(self, other: "LesionCounts") -> "LesionCounts":
        return LesionCounts(
            self.reference + other.reference,
            self.found + other.found,
            self.predicted + other.predicted,
            self.confirmed + other.confirmed,
        )

    @property
    def missed(self) -> int:
        """Lesions of the reference that are not found."""
        return self.reference - self.found

    @property
    def false(self) -> int:
        """Lesions of the prediction that are not confirmed."""
        return self.predicted - self.confirmed

    @property
    def recall(self) -> float | None:
        """The share of the reference's lesions that is found; None without any."""
        return self.found / self.reference if self.reference else None

    @property
    def precision(self) -> float | None:
        """The share of the prediction's lesions that is confirmed; None without any."""
        return self.confirmed / self.predicted if self.predicted else None


def count_lesions_by_size(prediction: Mask, reference: Mask, grid: Grid) -> dict[str, LesionCounts]:
    """Return the lesions of both masks by the longest axial diameter of each, in the order of `SIZES`.

    Lesions of 10 and of 20 mm count among those between. A lesion that is found or missed has its diameter in the
    reference, one that is confirmed or false in the prediction.

    Args:
        prediction: mask, (d, h, w).
        reference: mask, (d, h, w).
        grid: of both.

    Raises:
        ValueError: the masks differ in shape.
    """
    if prediction.shape != reference.shape:
        raise ValueError(
            f"count_lesions_by_size: expected masks of one shape; got {prediction.shape} and {reference.shape}; "
            "compare labels on one grid"
        )
    counts = dict.fromkeys(SIZES, LesionCounts())
    for lesion, hit in _hits(reference, prediction):
        counts[_size(lesion, grid)] += LesionCounts(reference=1, found=int(hit))
    for lesion, hit in _hits(prediction, reference):
        counts[_size(lesion, grid)] += LesionCounts(predicted=1, confirmed=int(hit))
    return counts


def _hits(mask: Mask, other: Mask) -> Iterator[tuple[Component, bool]]:
    """Yield the lesions of a mask, and whether each lies in the other one by a share of `OVERLAP` or more."""
    for lesion in components(mask):
        shared = int(np.count_nonzero(lesion.mask & other[lesion.box]))
        yield lesion, shared >= OVERLAP * int(np.count_nonzero(lesion.mask))


def _size(lesion: Component, grid: Grid) -> str:
    """Return the word of `SIZES` for a lesion."""
    small, large = DIAMETERS
    size = lesion.mask.shape[::-1]
    # An outline ends less than a voxel beyond the lesion, in whatever plane: noise has thousands of specks.
    if math.hypot(*((n + 2) * mm for n, mm in zip(size, grid.spacing, strict=True))) < small:
        return SIZES[0]
    # To a hundredth of a millimeter: a row of voxels that measures 10 mm does so in spite of rounding.
    longest = round(longest_axial_diameter(lesion.mask, crop_grid(grid, lesion.first, size)), 2)
    return SIZES[0] if longest < small else SIZES[1] if longest <= large else SIZES[2]
