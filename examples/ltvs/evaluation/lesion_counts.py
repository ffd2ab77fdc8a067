"""Tumors counted one by one: how many of a reference are found, and how many of a prediction are there."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ltvs.evaluation.metrics import Mask

#: Share of a lesion that has to lie in the other mask, so that a touch is no hit.
OVERLAP = 0.1


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
    def recall(self) -> float | None:
        """The share of the reference's lesions that is found; None without any."""
        return self.found / self.reference if self.reference else None

    @property
    def precision(self) -> float | None:
        """The share of the prediction's lesions that is confirmed; None without any."""
        return self.confirmed / self.predicted if self.predicted else None


def count_lesions(prediction: Mask, reference: Mask) -> LesionCounts:
    """Return the lesions of both masks; voxels that share a corner belong to one.

    Args:
        prediction: mask, (d, h, w).
        reference: mask, (d, h, w).

    Raises:
        ValueError: the masks differ in shape.
    """
    if prediction.shape != reference.shape:
        raise ValueError(
            f"count_lesions: expected masks of one shape; got {prediction.shape} and {reference.shape}; "
            "compare labels on one grid"
        )
    return LesionCounts(*_hits(reference, prediction), *_hits(prediction, reference))


def _hits(mask: Mask, other: Mask) -> tuple[int, int]:
    """Return the number of parts of a mask, and of those that lie in the other one by a share of `OVERLAP` or more."""
    parts, count = ndimage.label(mask, np.ones((3, 3, 3)))
    voxels = np.bincount(parts[mask], minlength=count + 1)[1:]
    shared = np.bincount(parts[mask & other], minlength=count + 1)[1:]
    return count, int(np.count_nonzero(shared >= OVERLAP * voxels))
