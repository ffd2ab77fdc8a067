"""The label values of every label map that this pipeline reads or writes, and their colors."""

from pathlib import Path
from typing import Literal, get_args

import numpy as np

from ltvs.runtime.errors import InputError

BACKGROUND = 0
LIVER = 1
VESSEL = 2
TUMOR = 3

MEANINGS = {LIVER: "liver", VESSEL: "vessel", TUMOR: "tumor"}

#: The structures that are scored. `liver` means the whole organ: every label above 0.
Structure = Literal["liver", "tumor", "vessel"]
STRUCTURES: tuple[Structure, ...] = get_args(Structure)

#: One color per structure in every picture, as red, green, blue in 0..1.
COLORS = {"liver": (0.78, 0.55, 0.40), "tumor": (0.95, 0.80, 0.20), "vessel": (0.20, 0.45, 0.95)}

#: By how much a label may be off a whole number: 255 stored with a slope of 1/255 in few digits reads as 0.996.
_ROUNDING = 0.01


def finite(path: Path, values: np.ndarray) -> np.ndarray:
    """Return the values of the volume at `path`; raise InputError if some are not finite."""
    if not np.isfinite(values).all():
        raise InputError(f"{path}: has NaN or infinite voxels; repair the file before using it")
    return values


def whole_labels(path: Path, values: np.ndarray) -> np.ndarray:
    """Return the labels of a volume as whole numbers, rounded by a hundredth at most.

    Args:
        path: of the volume, for messages.
        values: any shape.

    Raises:
        InputError: some are not finite, no whole numbers or negative, or none is left of those above 0.
    """
    if values.dtype.kind == "f":
        whole = np.rint(finite(path, values))
        off = np.abs(values - whole)
        if off.max() > _ROUNDING:
            raise InputError(
                f"{path}: expected whole numbers, got {values.flat[off.argmax()]:.4g}; are these probabilities, or was "
                "the map resampled with interpolation? Give the labels themselves"
            )
        if values.any() and not whole.any():
            raise InputError(
                f"{path}: expected whole numbers, got nothing but 0 and values up to {values.max():.4g}; were the "
                "labels divided by 255? Give the labels themselves"
            )
        values = whole
    if values.min() < 0:
        raise InputError(
            f"{path}: expected labels of 0 or more, got {values.min():g}; is it a mask of 255 in 8 bits with a sign, "
            "which read as -1? Save it as uint8"
        )
    return values
