"""A baseline without learning: thresholds of the HU, within the true liver."""

import numpy as np
import SimpleITK as sitk

from ltvs.runtime.errors import InputError
from ltvs.volume.grids import bounding_box
from ltvs.volume.images import same_grid
from ltvs.volume.labels import LIVER, TUMOR, VESSEL

#: The best of 96 settings for vessels and 144 for tumors, by Dice on the phantoms of seeds 0 to 5.
SMOOTHING = 1.0  # mm, standard deviation
BRIGHTER, DARKER = 30.0, 30.0  # HU from the liver's median
SMALLEST_VESSEL, SMALLEST_TUMOR = 100.0, 1000.0  # mm³


def threshold_labels(ct: sitk.Image, liver: sitk.Image) -> sitk.Image:
    """Label a smoothed CT by thresholds: vessels are brighter than the liver, tumors darker; drop small components.

    Args:
        ct: HU.
        liver: mask of the whole organ, above 0 inside, on the CT's grid.

    Returns:
        Label map on the CT's grid, uint8: 0 background, 1 liver, 2 vessel, 3 tumor.

    Raises:
        InputError: CT and mask lie on different grids.
    """
    if not same_grid(ct, liver):
        raise InputError(f"baseline: expected a liver mask on the CT's grid, {ct.GetSize()}; got {liver.GetSize()}")
    labels = sitk.Cast(liver > 0, sitk.sitkUInt8) * LIVER
    box = bounding_box(liver)
    if box is None:
        return labels
    first = box[0]
    size = [b - a + 1 for a, b in zip(*box, strict=True)]
    inside = sitk.RegionOfInterest(liver, size, first) > 0
    hu = sitk.Cast(sitk.RegionOfInterest(ct, size, first), sitk.sitkFloat32)
    hu = sitk.DiscreteGaussian(hu, SMOOTHING**2, useImageSpacing=True)
    median = float(np.median(sitk.GetArrayViewFromImage(hu)[sitk.GetArrayViewFromImage(inside) > 0]))
    vessel = _drop_small((hu > median + BRIGHTER) & inside, SMALLEST_VESSEL)
    tumor = _drop_small(sitk.BinaryMorphologicalOpening((hu < median - DARKER) & inside, (1, 1, 1)), SMALLEST_TUMOR)
    found = inside * LIVER + vessel * (VESSEL - LIVER) + tumor * (TUMOR - LIVER)
    return sitk.Paste(labels, sitk.Cast(found, sitk.sitkUInt8), size, destinationIndex=first)


def _drop_small(mask: sitk.Image, smallest: float) -> sitk.Image:
    """Keep the components of a mask of at least `smallest` mm³."""
    voxels = int(np.ceil(smallest / np.prod(mask.GetSpacing())))
    return sitk.RelabelComponent(sitk.ConnectedComponent(mask), minimumObjectSize=voxels) > 0
