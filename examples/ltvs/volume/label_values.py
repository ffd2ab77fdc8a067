"""Values of label maps as they are meant: whole numbers, however a file stores them."""

from pathlib import Path

import numpy as np

from ltvs.runtime.errors import InputError

#: By how much a label may be off a whole number: 255 stored with a slope of 1/255 in few digits reads as 0.996.
_ROUNDING = 0.01

#: What is below counts as 0: the noise of single precision, and no label divided by 255 or 65535.
_NOISE = 1e-6


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
        if off.max() > _NOISE and not whole.any():
            raise InputError(
                f"{path}: expected whole numbers, got nothing but 0 and values up to {off.max():.4g}; were the "
                "labels divided by 255? Give the labels themselves"
            )
        values = whole
    if (lowest := values.min()) < 0:
        likely = "a mask of 255 in 8 bits with a sign, which reads as -1? Save it as uint8"
        raise InputError(
            f"{path}: expected labels of 0 or more, got {lowest:g}; is it {likely if lowest >= -128 else 'a CT?'}"
        )
    return values
