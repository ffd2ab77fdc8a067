"""Reading of a DICOM series; what SimpleITK passes over, with a warning or silently, is an error here."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pydicom
import SimpleITK as sitk

from ltvs.runtime.errors import InputError
from ltvs.volume.dicom_header import Slice, damage_told, slice_thickness, slices_of
from ltvs.volume.dicom_pixels import stored_values
from ltvs.volume.grids import TILT_REMEDY, Grid, sound_grid
from ltvs.volume.modality import check_modality

#: Voxels by which a slice may be off its place in a regular stack: labels have half a voxel in all.
_TOLERANCE = 0.25

#: Modalities of DICOM files that never hold an image: reports, presentations, contours, plans and registrations.
_WITHOUT_IMAGES = {"SR", "PR", "KO", "RTSTRUCT", "RTPLAN", "REG", "DOC"}

_CUT_SHORT = "{}: is DICOM but cannot be read, is it cut short? Copy it again, or remove it"

# ITK's warnings would precede the one line that says what is wrong.
sitk.ProcessObject.GlobalWarningDisplayOff()


def read_series(folder: Path, modality: str | None = None, files: Iterable[Path] | None = None) -> sitk.Image:
    """Read the only series in a folder as a volume, slices in the order of their positions, not of their names.

    Each slice is rescaled as its own header says. The series may be one file with many frames.

    Args:
        folder: that holds the files.
        modality: that every file has to be of, if it says one: `CT`, for example. None takes any.
        files: of the series, in the folder or below it, where it holds others, too; all files in it if None.

    Raises:
        InputError: none or several series, a file that cannot be read, another modality, color, pixels or slices that
            are missing, slices that are duplicated, unevenly spaced, of several orientations or not straight above
            each other.
    """
    stack, thickness = _read_files(folder, folder.iterdir() if files is None else files, modality)
    if len(stack.shapes) > 1:
        raise InputError(f"{folder}: expected slices of one size, got several; give a folder with one series")
    slices, values = stack.slices, stack.values
    if len(stack.frames) > 1:
        normal = _normal(slices[0])
        order = sorted(range(len(slices)), key=lambda k: float(slices[k].position @ normal))
        if order != sorted(order):
            slices, values = [slices[k] for k in order], values[order]
    del stack  # so that no more than two copies of the values are there at a time
    _check_uniform(folder, slices)
    grid = _grid(folder, slices, values.shape[1:], thickness)
    return grid.place(sitk.GetImageFromArray(values))


def is_dicom(path: Path) -> bool:
    """Return whether a file starts as DICOM does."""
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


class _Stack:
    """The slices of a series in the order of its files, each rescaled as its own header says.

    Their values fill one array: the memory of hundreds of small ones would not go back to the system.

    Args:
        most: slices, if each file has one.
    """

    def __init__(self, most: int) -> None:
        self.slices: list[Slice] = []
        self.shapes: set[tuple[int, ...]] = set()
        self.frames: list[int] = []
        self._most = most
        self._values = np.empty((0, 0, 0), np.int16)

    @property
    def values(self) -> np.ndarray:
        """Of all slices, (slices, rows, columns), if they are of one shape."""
        return self._values[: len(self.slices)]

    def add(self, path: Path, dataset: pydicom.Dataset) -> None:
        """Add the slices of the next file, which may be many in one that is alone."""
        found = slices_of(path, dataset)
        self.frames.append(len(found))
        if max(self.frames) > 1 and len(self.frames) > 1:
            return
        for one, stored in zip(found, stored_values(path, dataset), strict=True):
            plane = _rescaled(stored, one)
            if not self.shapes:
                self._values = np.empty((max(self._most, len(found)), *plane.shape), plane.dtype)
            self.shapes.add(plane.shape)
            if len(self.shapes) == 1:
                if plane.itemsize > self._values.itemsize:
                    self._values = self._values.astype(plane.dtype)
                self._values[len(self.slices)] = plane
            self.slices.append(one)


def _read_files(folder: Path, files: Iterable[Path], modality: str | None) -> tuple[_Stack, float | None]:
    """Return the slices of the only series among files of a folder, and the thickness of one that is alone, mm.

    Every file that is DICOM has to be of the series. Whether there are several is said first.
    """
    paths = [path for path in sorted(files) if path.is_file() and path.name.upper() != "DICOMDIR"]
    stack, series = _Stack(len(paths)), set[str]()
    failure: InputError | None = None
    for path in paths:
        with damage_told(path):
            says_so = is_dicom(path)
        if not says_so and not _is_image(path):
            continue
        dataset, uid = _image(path)
        series.add(uid)
        last = path, dataset
        if len(series) == 1 and failure is None:
            try:
                with damage_told(path):
                    _check_image(folder, path, dataset, modality)
                    stack.add(path, dataset)
            except InputError as error:
                failure = error
    if len(series) > 1:
        raise InputError(f"{folder}: holds {len(series)} DICOM series; give a folder with one")
    if not series:
        raise InputError(f"{folder}: no DICOM series found in this folder")
    if failure is not None:
        raise failure
    if len(stack.frames) > 1 and max(stack.frames) > 1:
        raise InputError(
            f"{folder}: expected a 3D series with one value per voxel, got 4D, {max(stack.frames)} frames in one of "
            f"{len(stack.frames)} files; give a folder with one of them"
        )
    if stack.frames != [1]:
        return stack, None
    with damage_told(last[0]):
        return stack, slice_thickness(*last)


def _check_image(folder: Path, path: Path, dataset: pydicom.Dataset, modality: str | None) -> None:
    if "PixelData" not in dataset:
        raise InputError(_CUT_SHORT.format(path))
    check_modality(folder, str(dataset.get("Modality") or "").strip(), modality, path.name)


def _is_image(path: Path) -> bool:
    """Return whether a file that does not begin by saying that it is DICOM, as older ones do not, has an image."""
    try:
        with damage_told(path):
            return "Rows" in pydicom.dcmread(path, force=True, stop_before_pixels=True, specific_tags=["Rows"])
    except InputError:
        return False


def _image(path: Path) -> tuple[pydicom.Dataset, str]:
    """Read a DICOM file with an image, and the UID of its series."""
    with damage_told(path):
        dataset = pydicom.dcmread(path, force=True)
        if "Rows" in dataset:
            return dataset, str(dataset.get("SeriesInstanceUID") or "").strip()
        kind = str(dataset.get("Modality") or "").strip()
    if kind in _WITHOUT_IMAGES:
        raise InputError(f"{path}: expected a slice, got DICOM without an image, of Modality {kind}; move it elsewhere")
    raise InputError(_CUT_SHORT.format(path))


def _rescaled(stored: np.ndarray, one: Slice) -> np.ndarray:
    """Return the values of a slice: int16 if all are whole and fit, as HU do, else float64."""
    slope, intercept = one.slope, one.intercept
    if (
        stored.itemsize <= 2
        and slope.is_integer()
        and intercept.is_integer()
        and max(abs(slope), abs(intercept)) < 2**14
    ):
        whole = stored.astype(np.int32) * np.int32(slope) + np.int32(intercept)
        if whole.min() >= -(2**15) and whole.max() < 2**15:
            return whole.astype(np.int16)
    values = stored * slope + intercept
    small = np.abs(values).max() < 2**15 and np.array_equal(values, np.rint(values))
    return values.astype(np.int16) if small else values


def _check_uniform(folder: Path, slices: Sequence[Slice]) -> None:
    """Raise InputError if slices differ in orientation or spacing, as a localizer does."""
    orientations, spacings = (np.array([getattr(one, name) for one in slices]) for name in ("orientation", "spacing"))
    for name, values in (("orientation", orientations), ("PixelSpacing", spacings)):
        different = np.abs(values - values[0]).max(axis=1) > 1e-3
        if different.any():
            raise InputError(
                f"{folder}: expected slices of one {name}, got another from slice {int(different.argmax()) + 1} on; "
                "is a localizer or another reconstruction among them? Give a folder without"
            )


def _normal(one: Slice) -> np.ndarray:
    normal: np.ndarray = np.cross(one.orientation[:3], one.orientation[3:])
    normal /= np.linalg.norm(normal)
    return normal


def _grid(folder: Path, slices: Sequence[Slice], shape: Sequence[int], thickness: float | None) -> Grid:
    """Return the grid of slices of one orientation and spacing, in the order of the volume.

    Args:
        folder: for messages.
        slices: one or more.
        shape: rows and columns.
        thickness: mm, if there is but one slice.
    """
    rows, columns = (axis / np.linalg.norm(axis) for axis in slices[0].orientation.reshape(2, 3))
    normal, positions = _normal(slices[0]), np.array([one.position for one in slices])
    steps = np.diff(positions @ normal)
    if thickness is None:
        _check_order(folder, steps)
    step = float(steps.mean()) if thickness is None else thickness
    affine = np.eye(4)
    affine[:3, :3] = np.column_stack([rows * slices[0].spacing[1], columns * slices[0].spacing[0], normal * step])
    affine[:3, 3] = positions[0]
    grid = sound_grid(folder, (shape[1], shape[0], len(slices)), affine)
    if thickness is None:
        _check_regular(folder, positions, grid)
    return grid


def _check_order(folder: Path, steps: np.ndarray) -> None:
    """Raise InputError for several slices at one position, and for frames that run to and fro."""
    heights = np.abs(steps)
    if heights.min() < 0.01 * heights.max() or heights.max() == 0:
        raise InputError(
            f"{folder}: expected one slice at a position, got two or more at some; "
            "are there several acquisitions in the series? Give a folder with one"
        )
    if steps.min() < 0 < steps.max():
        raise InputError(
            f"{folder}: expected frames in the order of their positions, got them shuffled; "
            "export the series again, one file per slice"
        )


def _check_regular(folder: Path, positions: np.ndarray, grid: Grid) -> None:
    """Raise InputError unless slices lie straight above each other, evenly spaced, as the grid places them."""
    off = np.array([grid.index(position) for position in positions])
    steps = np.diff(off[:, 2]) * grid.spacing[2]
    off[:, 2] -= np.arange(len(off))
    aside = np.linalg.norm(off[:, :2] * grid.spacing[:2], axis=1)
    if np.abs(off[:, :2]).max() > _TOLERANCE:
        raise InputError(
            f"{folder}: expected slices straight above each other, got one {aside.max():.3g} mm to the side; "
            f"was the gantry tilted? {TILT_REMEDY}"
        )
    if np.abs(off[:, 2]).max() > _TOLERANCE:
        middle = float(np.median(steps))
        worst = int(np.abs(steps - middle).argmax())
        raise InputError(
            f"{folder}: expected evenly spaced slices, {middle:.4g} mm; got {steps[worst]:.4g} mm between slice "
            f"{worst + 1} and {worst + 2}; is a slice missing?"
        )
