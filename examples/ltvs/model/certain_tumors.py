"""Tumors that stage 2 is sure of: parts with a core of high odds, as far as the odds are moderate (hysteresis).

A network that finds small lesions also finds many where it is in doubt, such as areas of fat. Higher odds for every
voxel remove these, but shrink true tumors, too: their rims are as doubtful. A core decides for the whole part.
"""

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy import ndimage

from ltvs.model.stages import CLASSES

#: Odds of tumor against the likeliest other class: of a core, and of what is connected to it.
CORE, RIM = 20.0, 3.0

_TUMOR = CLASSES[2].index("tumor")


def keep_certain_tumors(probabilities: Float[ndarray, "k d h w"]) -> Float[ndarray, "k d h w"]:
    """Return probabilities in which only tumors are left that have a core; elsewhere, tumor has 0.

    A voxel stays where p(tumor) > RIM * max(p(other classes)), if a path of such voxels, over faces, leads to one where
    p(tumor) > CORE * max(p(other classes)).

    Args:
        probabilities: of the classes of stage 2, (k, d, h, w).

    Returns:
        A copy, (k, d, h, w); its sum over the classes is less than 1 where a tumor was in doubt.
    """
    tumor = probabilities[_TUMOR]
    others = np.delete(probabilities, _TUMOR, axis=0).max(axis=0)
    parts, count = ndimage.label(tumor > RIM * others)
    kept = np.zeros(count + 1, dtype=bool)
    kept[parts[tumor > CORE * others]] = True
    result = probabilities.copy()
    result[_TUMOR][~kept[parts]] = 0.0
    return result
