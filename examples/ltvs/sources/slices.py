"""Which files of a DICOM series make the one volume that is meant: a series may hold several acquisitions."""

from collections import defaultdict
from collections.abc import Callable, Collection, Hashable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom

from ltvs.errors import InputError


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
    """Whether slices are parallel, each at a place of its own, and evenly spaced to a tenth of a step."""
    if not slices:
        return False
    directions = np.array([one.orientation for one in slices])
    if np.abs(directions - directions[0]).max() > 1e-3:
        return False
    normal = np.cross(directions[0, :3], directions[0, 3:])
    steps = np.diff(np.sort(np.array([one.position for one in slices]) @ normal))
    return len(steps) == 0 or bool(steps.min() > 0.01 and np.ptp(steps) <= 0.1 * np.median(steps))


def meant_slices(slices: Collection[Slice], referenced: Collection[str]) -> list[Slice]:
    """The slices of a series that belong to one volume: all of them, or the acquisition that is referred to.

    Acquisitions are told apart by number, then by time as well; at last only the slices that are referred to are taken.

    Args:
        slices: of one series.
        referenced: SOP instance UIDs that the segmentation refers to; often not all of an acquisition.

    Raises:
        InputError: there is more than one volume, and the references do not say which.
    """
    if is_one_volume(slices):
        return list(slices)
    ways: tuple[Callable[[Slice], Hashable], ...] = (
        lambda one: one.acquisition[0],
        lambda one: one.acquisition,
        lambda one: one.instance,
    )
    for group_of in ways:
        groups = defaultdict(list)
        for one in slices:
            groups[group_of(one)].append(one)
        meant = [one for group in groups.values() if any(x.instance in referenced for x in group) for one in group]
        if is_one_volume(meant):
            return meant
    acquisitions = sorted({number or "unnumbered" for number, _ in (one.acquisition for one in slices)})
    raise InputError(
        f"{next(iter(slices)).path.parent}: expected slices of one volume, evenly spaced; got {len(slices)} in "
        f"{len(acquisitions)} acquisition(s) ({', '.join(acquisitions)}), and the segmentation does not say which of "
        "them it shows; is a slice missing, or there twice?"
    )
