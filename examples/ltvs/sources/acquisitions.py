"""Selection of the acquisition that a segmentation shows: a DICOM series may hold several."""

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Self

import numpy as np
import pydicom

from ltvs.runtime.errors import InputError
from ltvs.volume.dicom_header import numbers

#: mm: slices no further apart than this show the same place.
_SAME_PLACE = 0.01


@dataclass(frozen=True)
class CTSlice:
    """A CT slice as its header describes it.

    Args:
        path: of the file.
        instance: SOP instance UID.
        acquisition: number and time of the acquisition, empty if missing.
        position: of the first voxel, mm.
        orientation: direction cosines of the rows, then of the columns.
    """

    path: Path
    instance: str
    acquisition: tuple[str, str]
    position: tuple[float, ...]
    orientation: tuple[float, ...]

    @classmethod
    def of(cls, path: Path, header: pydicom.Dataset) -> Self:
        """Read the header of a file.

        Raises:
            InputError: position or orientation is missing, or holds no finite numbers.
        """
        position = numbers(path, header, "ImagePositionPatient", 3)
        orientation = numbers(path, header, "ImageOrientationPatient", 6)
        if position is None or orientation is None:
            raise InputError(f"{path}: expected a CT slice with its position and orientation, found none")
        acquisition = (str(header.get("AcquisitionNumber") or ""), str(header.get("AcquisitionTime") or ""))
        return cls(path, str(header.SOPInstanceUID), acquisition, position, orientation)


def is_one_volume(slices: Collection[CTSlice]) -> bool:
    """Return whether slices are parallel, evenly spaced to a tenth of a step, and acquisitions not interleaved.

    Two acquisitions half a step apart would be evenly spaced, too.
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


def select_acquisition(slices: Collection[CTSlice], referenced: Collection[str]) -> list[CTSlice]:
    """Return the slices of a series that make one volume: all of them, or the acquisition that is referred to.

    Acquisitions are told apart by number, then by time as well. If they have neither, only the slices that are
    referred to are taken, provided that none between them is left out.

    Args:
        slices: of one series.
        referenced: SOP instance UIDs that the segmentation refers to; often only some of an acquisition.

    Raises:
        InputError: there are several volumes, and the references do not identify one.
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
        "them it shows; is a slice missing or duplicated?"
    )


def _place(one: CTSlice) -> float:
    """Return the position of a slice along its normal, mm."""
    return float(np.dot(one.position, np.cross(one.orientation[:3], one.orientation[3:])))


def _steps(slices: Collection[CTSlice]) -> np.ndarray:
    """Return the distances from each slice to the next along the normal, mm."""
    return np.diff(sorted(_place(one) for one in slices))


def _smallest_step(slices: Collection[CTSlice]) -> float:
    """Return the smallest distance between slices at different places, mm."""
    steps = _steps(slices)
    return float(steps[steps > _SAME_PLACE].min(initial=np.inf))
