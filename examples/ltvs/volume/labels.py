"""The label values of every label map that this pipeline reads or writes, their structures and colors."""

from typing import Literal, get_args

import numpy as np
from jaxtyping import Bool, Integer
from numpy import ndarray

BACKGROUND = 0
LIVER = 1
VESSEL = 2
TUMOR = 3

MEANINGS = {LIVER: "liver", VESSEL: "vessel", TUMOR: "tumor"}

Structure = Literal["liver", "tumor", "vessel"]
"""A structure of a label map. `liver` is the whole organ: every label above 0."""
STRUCTURES: tuple[Structure, ...] = get_args(Structure)

#: One color per structure in every picture, as red, green, blue in 0..1.
COLORS = {"liver": (0.78, 0.55, 0.40), "tumor": (0.95, 0.80, 0.20), "vessel": (0.20, 0.45, 0.95)}


def structure_mask(values: Integer[ndarray, "..."], name: Structure) -> Bool[ndarray, "..."]:
    """Return where a label map has a structure; the liver is the whole organ, with its vessels and tumors.

    Args:
        values: of the map.
        name: of the structure.

    Example:
        >>> structure_mask(np.array([0, 1, 2, 3]), "liver").tolist()
        [False, True, True, True]
    """
    return np.asarray(values > BACKGROUND if name == "liver" else values == {"tumor": TUMOR, "vessel": VESSEL}[name])
