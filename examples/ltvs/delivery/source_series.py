"""The series of a CT as a segmentation refers to it: headers of its files, and where each slice of its grid lies."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from highdicom import UID
from pydicom import Dataset
from pydicom.valuerep import format_number_as_ds

from ltvs.runtime.errors import InputError
from ltvs.volume.dicom_header import Slice, damage_told, slices_of, whole_number
from ltvs.volume.grids import Grid

#: Voxels by which the corners of a slice may be off the grid's: the reading of series allows no more.
_TOLERANCE = 0.25

#: The character set of headers, which the segmentation takes over: highdicom refuses some that CTs have, and several
#: in one file.
_UTF_8 = "ISO_IR 192"

#: A segmentation cannot refer to a CT without these.
_NEEDED = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID")

#: What anonymization removes, and a segmentation may leave empty.
_MAY_BE_EMPTY = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID",
                 "AccessionNumber", "ReferringPhysicianName")  # fmt: skip


@dataclass(frozen=True)
class SourceSeries:
    """A series that a segmentation refers to.

    Args:
        headers: of its files, without pixels, in the order of the grid; with all that a segmentation needs.
        positions: (d, 3), center of the first voxel of each slice of the grid, mm.
    """

    headers: list[Dataset]
    positions: np.ndarray


def source_series(files: Sequence[Path], grid: Grid) -> SourceSeries:
    """Read the headers of a series and find the slices of a grid in them.

    Args:
        files: one per slice in any order, or one with many frames.
        grid: of the CT, as read from these files.

    Raises:
        InputError: a file cannot be read, is of another series or holds no slice, lacks what a segmentation has to
            refer to, or the slices are not those of the grid.
    """
    if not files:
        raise InputError("DICOM-SEG: expected the files of the CT's series, got none; give the CT as DICOM")
    found: dict[int, tuple[Dataset, np.ndarray]] = {}
    for file in files:
        header, slices = _header(file)
        for one in slices:
            index = _index(file, header, one, grid)
            if index in found:
                raise InputError(
                    f"{file}: expected one slice at a position, got two at slice {index + 1} of the labels"
                )
            found[index] = header, one.position
        _set_geometry(header, slices, grid)
    if len(found) != grid.size[2]:
        missing = min({*range(grid.size[2])} - {*found})
        raise InputError(
            f"{files[0].parent}: expected {grid.size[2]} slices, as the labels have, got {len(found)}; "
            f"slice {missing + 1} is missing"
        )
    headers = [*{id(found[k][0]): found[k][0] for k in sorted(found)}.values()]
    _check_one(files[0].parent, headers)
    frame_of_reference = str(headers[0].get("FrameOfReferenceUID") or UID())
    for header in headers:
        header.FrameOfReferenceUID = frame_of_reference
    return SourceSeries(headers, np.array([found[k][1] for k in sorted(found)]))


def _header(file: Path) -> tuple[Dataset, list[Slice]]:
    """Read the header of a file and its slices; what may be missing is filled."""
    with damage_told(file):
        try:
            header = pydicom.dcmread(file, force=True, stop_before_pixels=True)
        except OSError as error:
            raise InputError(f"{file}: cannot be read ({error.strerror or error})") from error
        if "Rows" not in header:
            raise InputError(f"{file}: expected a slice of the CT in DICOM, got no image")
        for name, of_file in (
            ("SOPInstanceUID", "MediaStorageSOPInstanceUID"),
            ("SOPClassUID", "MediaStorageSOPClassUID"),
        ):
            if not header.get(name) and header.file_meta.get(of_file):
                setattr(header, name, header.file_meta[of_file].value)
        for name in _NEEDED:
            if not header.get(name):
                raise InputError(
                    f"{file}: expected a {name}, which a DICOM-SEG has to refer to, got none; was it removed with the "
                    "name of the patient? Export the CT again, or do without a DICOM-SEG"
                )
        header.decode()
        header.SpecificCharacterSet = _UTF_8
        for name in _MAY_BE_EMPTY:
            if header.get(name) is None:
                setattr(header, name, "")
        return header, slices_of(file, header)


def _index(file: Path, header: Dataset, one: Slice, grid: Grid) -> int:
    """Return which slice of the grid a slice of a file is."""
    size = (whole_number(file, header, "Columns"), whole_number(file, header, "Rows"))
    along = one.orientation.reshape(2, 3) * one.spacing[::-1, None] * (np.array(size)[:, None] - 1)
    corners = np.array([grid.index(one.position + shift) for shift in (np.zeros(3), *along)])
    index = round(float(corners[0, 2]))
    expected = [(0, 0, index), (size[0] - 1, 0, index), (0, size[1] - 1, index)]
    off = float(np.abs(corners - expected).max())
    if size != grid.size[:2] or not 0 <= index < grid.size[2] or off > _TOLERANCE:
        x, y, z = grid.size
        raise InputError(
            f"{file}: expected a slice of the labels' grid, {x} x {y} x {z}; got {size[0]} x {size[1]}, off by "
            f"{off:.3g} voxels; are the labels of another CT?"
        )
    return index


def _set_geometry(header: Dataset, slices: Sequence[Slice], grid: Grid) -> None:
    """Write orientation and spacing of all slices as those of the grid, where highdicom looks for them.

    Their last digits may differ from slice to slice, which is no error, and the thickness may be another than the
    distance of two slices, which is that of the voxels.
    """
    orientation, measures = Dataset(), Dataset()
    orientation.ImageOrientationPatient = _decimals(np.reshape(grid.direction, (3, 3))[:, :2].T.ravel())
    measures.PixelSpacing = _decimals(grid.spacing[1::-1])
    measures.SliceThickness = measures.SpacingBetweenSlices = _decimals(grid.spacing[2:])[0]
    frames = header.get("PerFrameFunctionalGroupsSequence")
    if not frames:
        header.update(orientation)
        header.update(measures)
        header.ImagePositionPatient = _decimals(slices[0].position)
        return
    for frame, one in zip(frames, slices, strict=True):
        position = Dataset()
        position.ImagePositionPatient = _decimals(one.position)
        frame.PlanePositionSequence = [position]
    if not header.get("SharedFunctionalGroupsSequence"):
        header.SharedFunctionalGroupsSequence = [Dataset()]
    shared = header.SharedFunctionalGroupsSequence[0]
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [orientation], [measures]


def _check_one(folder: Path, headers: Sequence[Dataset]) -> None:
    """Raise InputError for files of several series, studies, patients or frames of reference, or with the same UID."""
    for name in ("StudyInstanceUID", "SeriesInstanceUID", "PatientID", "FrameOfReferenceUID"):
        several = {str(header.get(name) or "") for header in headers}
        if len(several) > 1:
            raise InputError(f"{folder}: expected files of one {name}, got {len(several)}; give one series")
    distinct = {str(header.SOPInstanceUID) for header in headers}
    if len(distinct) < len(headers):
        raise InputError(
            f"{folder}: expected a SOPInstanceUID of its own for each of {len(headers)} files, got {len(distinct)}; "
            "nothing can refer to such files: export the series again"
        )


def _decimals(numbers: Sequence[float] | np.ndarray) -> list[str]:
    return [format_number_as_ds(float(number)) for number in numbers]
