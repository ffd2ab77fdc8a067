"""Reasons to distrust the labels of a case, found in the labels and the CT alone."""

import math
from collections.abc import Iterator, Sequence

import numpy as np
import SimpleITK as sitk

from ltvs.measurement.field_of_view import area_at_edge, area_at_padding
from ltvs.runtime.errors import InputError
from ltvs.volume.grids import bounding_slices
from ltvs.volume.images import same_grid
from ltvs.volume.labels import BACKGROUND, LIVER, TUMOR, VESSEL

#: Plausible volumes of a liver, ml.
VOLUME = (600.0, 3500.0)
#: cm² of the liver's surface, at the edge of the CT and at the padding around the field of view, that are too much for
#: an accident of single voxels.
AT_EDGE, AT_PADDING = 0.1, 1.0
#: A second body is large if it has this many ml (half a kidney or spleen) and this share of the first one's volume.
SECOND_BODY, SECOND_SHARE = 50.0, 0.1
#: Median HU of liver tissue in the portal-venous phase. Without contrast medium it has 38 to 70 HU, and 50 HU more
#: count as adequate enhancement; at 80 kV it reaches 180.
ENHANCED = (75.0, 180.0)
#: The largest plausible share of tumor in a liver.
MOST_TUMOR = 0.3


def find_doubts(ct: sitk.Image, labels: sitk.Image, bodies: Sequence[float] = ()) -> tuple[str, ...]:
    """Return the reasons to distrust the labels of a CT, one sentence each. Nothing looks wrong if there are none.

    Args:
        ct: the CT in HU.
        labels: its label map, on its grid: 0 background, 1 liver, 2 vessel, 3 tumor.
        bodies: ml of each connected body that stage 1 took for liver, the largest first.

    Raises:
        InputError: CT and labels lie on different grids.
    """
    if not same_grid(ct, labels):
        raise InputError(
            f"find_doubts: expected labels on the CT's grid, {ct.GetSize()}; got {labels.GetSize()}; give the CT that "
            "was labeled"
        )
    values, hu = sitk.GetArrayViewFromImage(labels), sitk.GetArrayViewFromImage(ct)
    box = bounding_slices(values > BACKGROUND)
    if box is None:
        return ("No liver is labeled.",)
    inner, spacing = values[box], ct.GetSpacing()[::-1]
    inside = inner[inner > BACKGROUND]
    return (
        *_volume(inside.size * math.prod(spacing) / 1000),
        *_field_of_view(area_at_edge(values, spacing), area_at_padding(hu, values, spacing)),
        *_bodies(bodies),
        *_enhancement(hu[box][inner == LIVER]),
        *_contents(inside),
    )


def _volume(ml: float) -> Iterator[str]:
    low, high = VOLUME
    if not low <= ml <= high:
        yield f"The liver has a volume of {ml:,.0f} ml, expected {low:,.0f} to {high:,.0f} ml."


def _field_of_view(at_edge: float, at_padding: float) -> Iterator[str]:
    if at_edge >= AT_EDGE:
        yield f"The liver may be cut off: {at_edge:.1f} cm² of its surface is at the edge of the CT."
    if at_padding >= AT_PADDING:
        yield f"The liver may be cut off: {at_padding:.1f} cm² of its surface is at the padding of the field of view."


def _bodies(bodies: Sequence[float]) -> Iterator[str]:
    large = [ml for ml in bodies[1:] if ml >= SECOND_BODY and ml >= SECOND_SHARE * bodies[0]]
    if large:
        *first, last = (f"{ml:,.0f}" for ml in (bodies[0], *large))
        volumes = f"{', '.join(first)} and {last} ml"
        yield f"Stage 1 found {1 + len(large)} large regions ({volumes}); only the largest is labeled as liver."


def _enhancement(tissue: np.ndarray) -> Iterator[str]:
    low, high = ENHANCED
    if tissue.size and not low <= (median := float(np.median(tissue))) <= high:
        yield (
            f"The liver has a median of {median:.0f} HU, expected {low:.0f} to {high:.0f} HU in the portal-venous "
            "phase."
        )


def _contents(inside: np.ndarray) -> Iterator[str]:
    """Doubt the labels inside the liver."""
    share = np.count_nonzero(inside == TUMOR) / inside.size
    if share > MOST_TUMOR:
        yield f"Tumors make up {share:.0%} of the liver, expected at most {MOST_TUMOR:.0%}."
    if not (inside == VESSEL).any():
        yield "No vessels were found in the liver."
