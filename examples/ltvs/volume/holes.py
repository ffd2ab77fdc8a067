"""Holes in a body: background that it encloses."""

import numpy as np
from jaxtyping import Bool
from numpy import ndarray
from scipy import ndimage


def without_holes(mask: Bool[ndarray, "d h w"]) -> Bool[ndarray, "d h w"]:
    """Return a mask with its holes filled: background that no path through faces joins to what is beyond the array.

    Args:
        mask: (d, h, w).

    Example:
        >>> shell = np.ones((3, 3, 3), dtype=bool)
        >>> shell[1, 1, 1] = False
        >>> bool(without_holes(shell).all())
        True
    """
    outside, _ = ndimage.label(~np.pad(mask, 1))
    filled: Bool[ndarray, "d h w"] = outside[1:-1, 1:-1, 1:-1] != outside[0, 0, 0]
    return filled
