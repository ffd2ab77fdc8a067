"""Recall of vessels by caliber and of tumors by brightness, and the confusion of the classes."""

import numpy as np
from numpy import ndarray
from scipy import ndimage
from skimage.morphology import ball

from benchmarks.accuracy.cases import Prepared
from ltvs.model.stages import CLASSES

#: Width in voxels of a ball inside a vessel at which the next caliber begins.
WIDTHS = (3, 5)
CALIBERS = ("narrower than 3 voxels", "3 or 4 voxels", "5 voxels and more")
#: Tumors nearer to the liver's brightness than this are isodense; in the network's input, units of 50 HU.
ISODENSE = 0.2
KINDS = ("darker", "isodense", "brighter")
#: Class numbers of stage 2.
VESSEL, TUMOR = (CLASSES[2].index(name) for name in ("vessel", "tumor"))

#: Voxels found and all voxels, by kind; for tumors, their number as well.
Counts = dict[str, list[int]]


def calibers(vessel: ndarray) -> ndarray:
    """Return 1, 2 or 3 in vessels, by the largest ball that fits into the vessel at a voxel, and 0 elsewhere."""
    out = vessel.astype(np.uint8)
    for number, width in enumerate(WIDTHS, start=2):
        radius = width // 2
        held = ndimage.binary_opening(vessel, ball(radius, bool))
        # The rim of a vessel is as wide as the vessel, though a ball of voxels does not reach all of it.
        out[vessel & ndimage.binary_dilation(held, np.ones((3, 3, 3), bool), iterations=radius)] = number
    return out


def vessels_by_caliber(prediction: ndarray, case: Prepared) -> Counts:
    """Return the voxels of vessels that are predicted as such, and all of them, by caliber."""
    found, kind = prediction == VESSEL, calibers(case.target == VESSEL)
    return {name: _counts(found, kind == number) for number, name in enumerate(CALIBERS, start=1)}


def tumors_by_brightness(prediction: ndarray, case: Prepared) -> Counts:
    """Return the voxels of tumors predicted as such, all of them, and the tumors, by each one's mean brightness."""
    found = prediction == TUMOR
    pieces, count = ndimage.label(case.target == TUMOR)
    counts: Counts = {name: [0, 0, 0] for name in KINDS}
    for piece in range(1, count + 1):
        there = pieces == piece
        brightness = float(case.image[there].mean())
        kind = KINDS[1] if abs(brightness) < ISODENSE else KINDS[0] if brightness < 0 else KINDS[2]
        counts[kind] = [a + b for a, b in zip(counts[kind], [*_counts(found, there), 1], strict=True)]
    return counts


def taken_for(prediction: ndarray, case: Prepared) -> list[list[int]]:
    """Return the voxels of each class (row) that are predicted as each class (column)."""
    classes = len(CLASSES[2])
    pairs = case.target.astype(np.int64) * classes + prediction
    table: list[list[int]] = np.bincount(pairs.ravel(), minlength=classes**2).reshape(classes, classes).tolist()
    return table


def _counts(found: ndarray, there: ndarray) -> list[int]:
    return [int((found & there).sum()), int(there.sum())]
