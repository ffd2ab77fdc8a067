"""Reading of a DICOM series; what SimpleITK passes over, with a warning or silently, is an error here."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
import SimpleITK as sitk

from ltvs.runtime.errors import InputError, itk_reason
from ltvs.volume.grids import TILT_REMEDY, Grid

#: Voxels by which a slice may be off its place in a regular stack: labels have half a voxel in all.
_TOLERANCE = 0.25

# ITK's warnings would precede the one line that says what is wrong.
sitk.ProcessObject.GlobalWarningDisplayOff()


@dataclass(frozen=True)
class SliceGeometry:
    """Geometry of the slices of a series from their headers, in the order of the volume.

    Args:
        positions: center of the first voxel, mm, one row per slice.
        orientations: direction cosines of the rows and of the columns, one row per slice.
        spacings: mm between rows and between columns, one row per slice.
        thickness: of the first slice, mm; None if the header lacks it.
    """

    positions: np.ndarray
    orientations: np.ndarray
    spacings: np.ndarray
    thickness: float | None


def read_series(folder: Path, modality: str | None = None) -> sitk.Image:
    """Read the only series in a folder as a volume, slices in the order of their positions, not of their names.

    The series may be one file with many frames.

    Args:
        folder: that holds the files.
        modality: that every file has to be of, if it says one: `CT`, for example. None takes any.

    Raises:
        InputError: none or several series, a file that cannot be read, another modality, color, slices that are
            missing, duplicated, unevenly spaced, of several orientations or not straight above each other.
    """
    files = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder))
    if not files:
        raise InputError(f"{folder}: no DICOM series found in this folder")
    _check_all_read(folder, files)
    if modality is not None:
        _check_modality(folder, files, modality)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(files)
    reader.MetaDataDictionaryArrayUpdateOn()
    try:
        volume = reader.Execute()
    except RuntimeError as error:
        raise InputError(f"{folder}: the DICOM series cannot be read ({itk_reason(error)})") from error
    frames = volume.GetDimension() == 4 and volume.GetSize()[3] == 1
    if frames:
        volume = volume[..., 0]
    if volume.GetDimension() != 3 or volume.GetNumberOfComponentsPerPixel() != 1:
        raise InputError(
            f"{folder}: expected a 3D series with one value per voxel, got {volume.GetDimension()}D with "
            f"{volume.GetNumberOfComponentsPerPixel()}; give the CT itself, one file per slice and not in color"
        )
    slices = _geometry_of_frames(folder, Path(files[0])) if frames else _geometry_of_files(folder, reader, len(files))
    _check_uniform(folder, slices)
    if len(slices.positions) == 1:
        if not slices.thickness:
            raise InputError(f"{folder}: expected SliceThickness in a single slice, got none; export it again")
        # ITK takes the slice spacing from the positions alone, and 1 mm for a single slice.
        volume.SetSpacing((*volume.GetSpacing()[:2], slices.thickness))
    else:
        _check_regular(folder, slices.positions, Grid.of(volume))
    return volume


def is_dicom(path: Path) -> bool:
    """Return whether a file starts as DICOM does."""
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def _check_all_read(folder: Path, files: Sequence[str]) -> None:
    """Raise InputError for several series and for a truncated slice: GDCM drops either silently."""
    read = {Path(file).name for file in files}
    others = [path for path in sorted(folder.iterdir()) if path.name not in read and path.is_file()]
    series = sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(folder)) if others else ()
    if len(series) > 1:
        raise InputError(f"{folder}: holds {len(series)} DICOM series; give a folder with one")
    for path in others:
        if is_dicom(path) and path.name.upper() != "DICOMDIR":
            raise InputError(f"{path}: is DICOM but cannot be read, is it cut short? Copy it again, or remove it")


def _check_modality(folder: Path, files: Sequence[str], modality: str) -> None:
    """Raise InputError for a file that says that it is of another modality."""
    for file in files:
        header = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=["Modality"])
        found = str(header.get("Modality") or "").strip()
        if found and found.upper() != modality:
            raise InputError(
                f"{folder}: expected a series of Modality {modality}, got {found} in {Path(file).name}; "
                f"give the {modality} series"
            )


def _geometry_of_files(folder: Path, reader: sitk.ImageSeriesReader, count: int) -> SliceGeometry:
    """Read the geometry from one file per slice; for a missing tag ITK would take zeros and ones."""

    def numbers(tag: str, name: str) -> np.ndarray:
        values = [reader.GetMetaData(k, tag) if reader.HasMetaDataKey(k, tag) else "" for k in range(count)]
        if not all(value.strip() for value in values):
            raise InputError(f"{folder}: expected {name} in every slice, got some without; export the series again")
        return np.array([[float(number) for number in value.split("\\")] for value in values])

    thickness = reader.GetMetaData(0, "0018|0050") if reader.HasMetaDataKey(0, "0018|0050") else ""
    return SliceGeometry(
        numbers("0020|0032", "ImagePositionPatient"),
        numbers("0020|0037", "ImageOrientationPatient"),
        numbers("0028|0030", "PixelSpacing"),
        float(thickness) if thickness.strip() else None,
    )


def _geometry_of_frames(folder: Path, file: Path) -> SliceGeometry:
    """Read the geometry from the functional groups of a multi-frame file, each frame's own or shared by all."""
    header = pydicom.dcmread(file, stop_before_pixels=True)
    shared = header.get("SharedFunctionalGroupsSequence", [{}])[0]
    frames = header.get("PerFrameFunctionalGroupsSequence", [])

    def group(name: str) -> list[pydicom.Dataset]:
        return [(frame[name] if name in frame else shared[name]).value[0] for frame in frames]

    try:
        measures = group("PixelMeasuresSequence")
        return SliceGeometry(
            np.array([item.ImagePositionPatient for item in group("PlanePositionSequence")], dtype=float),
            np.array([item.ImageOrientationPatient for item in group("PlaneOrientationSequence")], dtype=float),
            np.array([item.PixelSpacing for item in measures], dtype=float),
            measures[0].get("SliceThickness"),
        )
    except (KeyError, IndexError, AttributeError) as error:
        raise InputError(
            f"{folder}: expected position, orientation and spacing of every frame, got some without; "
            "export the series again, one file per slice"
        ) from error


def _check_uniform(folder: Path, slices: SliceGeometry) -> None:
    """Raise InputError if slices differ in orientation or spacing, as a localizer does: ITK reads only the first."""
    for name, values in (("orientation", slices.orientations), ("PixelSpacing", slices.spacings)):
        different = np.abs(values - values[0]).max(axis=1) > 1e-3
        if different.any():
            raise InputError(
                f"{folder}: expected slices of one {name}, got another from slice {int(different.argmax()) + 1} on; "
                "is a localizer or another reconstruction among them? Give a folder without"
            )


def _check_regular(folder: Path, positions: np.ndarray, grid: Grid) -> None:
    """Raise InputError unless slices lie straight above each other, evenly spaced: ITK places them as if they did."""
    off = np.array([grid.index(position) for position in positions])
    heights = np.sort(off[:, 2])
    steps = np.diff(heights)
    if steps.min() < 0.01 * steps.max():
        raise InputError(
            f"{folder}: expected one slice at a position, got two or more at some; "
            "are there several acquisitions in the series? Give a folder with one"
        )
    if (off[:, 2] != heights).any():
        raise InputError(
            f"{folder}: expected frames in the order of their positions, got them shuffled; "
            "export the series again, one file per slice"
        )
    off[:, 2] -= np.arange(len(off))
    aside = np.linalg.norm(off[:, :2] * grid.spacing[:2], axis=1)
    if np.abs(off[:, :2]).max() > _TOLERANCE:
        raise InputError(
            f"{folder}: expected slices straight above each other, got one {aside.max():.3g} mm to the side; "
            f"was the gantry tilted? {TILT_REMEDY}"
        )
    if np.abs(off[:, 2]).max() > _TOLERANCE:
        steps = steps * grid.spacing[2]
        middle = float(np.median(steps))
        worst = int(np.abs(steps - middle).argmax())
        raise InputError(
            f"{folder}: expected evenly spaced slices, {middle:.4g} mm; got {steps[worst]:.4g} mm between slice "
            f"{worst + 1} and {worst + 2}; is a slice missing?"
        )
