"""Which files of a DICOM series make the one volume that is meant: a series may hold several acquisitions."""

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pydicom

from ltvs.runtime.errors import InputError

#: mm: slices that are no further apart show the same place.
_SAME_PLACE = 0.01


@dataclass(frozen=True)
class Slice:
    """What the header of one CT slice says.

    Args:
        path: of the file.
        instance: SOP instance UID.
        acquisition: number and time of the acquisition, empty where not given.
        position: of the first voxel, mm.
        orientation: direction cosines of the rows, then of the columns.
    """

    path: Path
    instance: str
    acquisition: tuple[str, str]
    position: tuple[float, ...]
    orientation: tuple[float, ...]

    @classmethod
    def of(cls, path: Path, header: pydicom.Dataset) -> "Slice":
        """From the header of a file.

        Raises:
            InputError: it does not say where the slice lies.
        """
        position, orientation = header.get("ImagePositionPatient"), header.get("ImageOrientationPatient")
        if not position or not orientation:
            raise InputError(f"{path}: expected a CT slice with its position and orientation, found none")
        acquisition = (str(header.get("AcquisitionNumber") or ""), str(header.get("AcquisitionTime") or ""))
        return cls(
            path,
            str(header.SOPInstanceUID),
            acquisition,
            tuple(float(mm) for mm in position),
            tuple(float(cosine) for cosine in orientation),
        )


def is_one_volume(slices: Collection[Slice]) -> bool:
    """Whether slices are parallel, evenly spaced to a tenth of a step, and no acquisition lies amid another.

    Two acquisitions that were shifted by half a step make evenly spaced slices, too.
    """
    if not slices:
        return False
    directions = np.array([one.orientation for one in slices])
    if np.abs(directions - directions[0]).max() > 1e-3:
        return False
    steps = _steps(slices)
    in_order = [one.acquisition for one in sorted(slices, key=_place)]
    runs = 1 + sum(one != other for one, other in pairwise(in_order))
    if len(steps) and (steps.min() <= _SAME_PLACE or np.ptp(steps) > 0.1 * np.median(steps)):
        return False
    return runs == len(set(in_order))


def meant_slices(slices: Collection[Slice], referenced: Collection[str]) -> list[Slice]:
    """The slices of a series that belong to one volume: all of them, or the acquisition that is referred to.

    Acquisitions are told apart by number, then by time as well. Where they have neither, only the slices that are
    referred to are taken, if none is left out between them.

    Args:
        slices: of one series.
        referenced: SOP instance UIDs that the segmentation refers to; often not all of an acquisition.

    Raises:
        InputError: there is more than one volume, and the references do not say which.
    """
    if is_one_volume(slices):
        return list(slices)
    for told_apart_by in (1, 2):
        groups = defaultdict(list)
        for one in slices:
            groups[one.acquisition[:told_apart_by]].append(one)
        meant = [one for group in groups.values() if any(x.instance in referenced for x in group) for one in group]
        if is_one_volume(meant):
            return meant
    meant = [one for one in slices if one.instance in referenced]
    if is_one_volume(meant) and _steps(meant).min(initial=np.inf) <= 1.1 * _smallest_step(slices):
        return meant
    acquisitions = sorted({one.acquisition[0] or "unnumbered" for one in slices})
    raise InputError(
        f"{next(iter(slices)).path.parent}: expected slices of one volume, evenly spaced; got {len(slices)} in "
        f"{len(acquisitions)} acquisition(s) ({', '.join(acquisitions)}), and the segmentation does not say which of "
        "them it shows; is a slice missing, or there twice?"
    )


def _place(one: Slice) -> float:
    """Where a slice lies along its normal, mm."""
    return float(np.dot(one.position, np.cross(one.orientation[:3], one.orientation[3:])))


def _steps(slices: Collection[Slice]) -> np.ndarray:
    """From each slice to the next along the normal, mm."""
    return np.diff(sorted(_place(one) for one in slices))


def _smallest_step(slices: Collection[Slice]) -> float:
    """Between slices at different places, mm."""
    steps = _steps(slices)
    return float(steps[steps > _SAME_PLACE].min(initial=np.inf))
