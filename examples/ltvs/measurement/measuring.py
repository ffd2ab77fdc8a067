"""A label map in numbers: ml of liver, vessels and tumors, and each tumor."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import SimpleITK as sitk

from ltvs.measurement.components import Mask, components
from ltvs.measurement.gaps import Neighbor
from ltvs.measurement.tumors import Tumor, measure_tumor
from ltvs.runtime.errors import InputError
from ltvs.volume.grids import Grid, bounding_slices, crop_grid
from ltvs.volume.holes import without_holes
from ltvs.volume.labels import BACKGROUND, MEANINGS, STRUCTURES, structure_mask

#: Voxels of background around the liver: what touches it lies in the first, what is grown in the second.
_ROOM = 2


@dataclass(frozen=True)
class Measurements:
    """What a label map shows.

    Args:
        liver_ml: ml of the whole organ, with the vessels and tumors in it.
        vessels_ml: ml of all vessels.
        tumors_ml: ml of all tumors.
        tumors: each tumor, the largest first.
    """

    liver_ml: float
    vessels_ml: float
    tumors_ml: float
    tumors: tuple[Tumor, ...]

    def json(self) -> dict[str, Any]:
        """Return the measurements for JSON, with mm rounded to a tenth, and ml and shares to a thousandth."""
        return {
            "liver_ml": round(self.liver_ml, 3),
            "vessels_ml": round(self.vessels_ml, 3),
            "tumors_ml": round(self.tumors_ml, 3),
            "tumors": [tumor.json() for tumor in self.tumors],
        }


def measure(labels: sitk.Image) -> Measurements:
    """Measure liver, vessels and tumors of a label map.

    Args:
        labels: a label map of any size, spacing and orientation: 0 background, 1 liver, 2 vessel, 3 tumor.

    Raises:
        InputError: the map has other labels.

    Examples:
        >>> labels = np.ones((40, 50, 60), np.uint8)
        >>> labels[10:20, 10:20, 10:20], labels[10:20, 10:20, 24] = 3, 2
        >>> measured = measure(sitk.GetImageFromArray(labels))
        >>> measured.liver_ml, measured.tumors_ml, measured.tumors[0].distance_to_vessel_mm
        (120.0, 1.0, 4.0)
    """
    values = sitk.GetArrayViewFromImage(labels)
    if values.ndim != 3 or values.dtype.kind not in "iu" or values.min() < BACKGROUND or values.max() > max(MEANINGS):
        raise InputError(
            f"measure: expected a label map in 3D of whole numbers, 0 to {max(MEANINGS)}; got {values.dtype} in "
            f"{values.ndim}D, {values.min():g} to {values.max():g}; give 1 liver, 2 vessel, 3 tumor as uint8"
        )
    box = bounding_slices(values > BACKGROUND)
    if box is None:
        return Measurements(0.0, 0.0, 0.0, ())
    cropped = np.pad(values[box], _ROOM)
    first = [part.start - _ROOM for part in box[::-1]]
    grid = crop_grid(Grid.of(labels), first, cropped.shape[::-1])
    liver, tumor, vessel = (structure_mask(cropped, name) for name in STRUCTURES)
    ml = float(np.prod(grid.spacing)) / 1000
    liver_ml, vessels_ml, tumors_ml = (int(np.count_nonzero(mask)) * ml for mask in (liver, vessel, tumor))
    return Measurements(liver_ml, vessels_ml, tumors_ml, _tumors(tumor, vessel, liver, grid))


def _tumors(tumor: Mask, vessel: Mask, liver: Mask, grid: Grid) -> tuple[Tumor, ...]:
    """Measure each tumor of an array that has background on every side."""
    found = components(tumor)
    if not found:
        return ()
    spacing = grid.spacing[::-1]
    # No cavity is a surface of the liver.
    vessels, outside = Neighbor.of(vessel, spacing), Neighbor.of(~without_holes(liver), spacing)
    assert outside is not None
    return tuple(measure_tumor(number, part, grid, vessels, outside) for number, part in enumerate(found, 1))
