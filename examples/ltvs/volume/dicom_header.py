"""What the header of a DICOM file says about its slices: read as meant, or an error; never a traceback."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from pydicom.datadict import dictionary_VR

from ltvs.runtime.errors import InputError, plain
from ltvs.volume.formats.header_numbers import numbers_in, whole_numbers_in

#: Types of values that a file holds in binary; those of all other numbers are text.
_BINARY = ("US", "SS", "UL", "SL", "UV", "SV", "FL", "FD")


@dataclass(frozen=True)
class Slice:
    """A slice as its header describes it.

    Args:
        position: center of the first voxel, mm.
        orientation: direction cosines of the rows, then of the columns.
        spacing: mm between rows and between columns.
        slope: of the values.
        intercept: of the values.
    """

    position: np.ndarray
    orientation: np.ndarray
    spacing: np.ndarray
    slope: float
    intercept: float


@contextmanager
def damage_told(path: Path) -> Iterator[None]:
    """Turn whatever pydicom raises at a damaged file into an InputError, and keep its warnings from the screen."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (InputError, MemoryError):
        raise
    except Exception as error:  # what a damaged file raises depends on where it is damaged
        if isinstance(error, OSError) and error.strerror:
            raise InputError(f"{path}: cannot be read ({error.strerror})") from error
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise InputError(f"{path}: is DICOM but cannot be read, is it damaged? Copy it again ({reason})") from error


def numbers(path: Path, dataset: pydicom.Dataset, name: str, count: int) -> tuple[float, ...] | None:
    """Return the finite numbers of an element, None if it is missing or empty.

    Args:
        path: of the file, for messages.
        dataset: with the element in it.
        name: of the element. A decimal comma in its text counts as a point.
        count: of numbers.

    Raises:
        InputError: it has another count of numbers, or one is no finite number.
    """
    words = _words(dataset, name)
    return numbers_in(path, name, words, count) if words else None


def whole_number(path: Path, dataset: pydicom.Dataset, name: str, default: int | None = None) -> int:
    """Return the whole number of an element, or `default` if it is missing or empty.

    Raises:
        InputError: it is no whole number, or is missing and has no default.
    """
    words = _words(dataset, name)
    if not words and default is not None:
        return default
    return whole_numbers_in(path, name, words, 1)[0]


def slices_of(path: Path, header: pydicom.Dataset) -> list[Slice]:
    """Return the slices of a file: one, or the frames that its functional groups describe.

    Raises:
        InputError: position, orientation or spacing is missing, or a number makes no sense.
    """
    groups = _groups(path, header)
    try:
        return [_slice(path, *group) for group in groups]
    except _MissingError as error:
        if len(groups) == 1:
            raise
        raise _without_groups(path, "some without") from error


def slice_thickness(path: Path, header: pydicom.Dataset) -> float:
    """Return the thickness of the first slice of a file, mm.

    Raises:
        InputError: it is missing, or is no number above 0.
    """
    values = numbers(path, _groups(path, header)[0][2], "SliceThickness", 1)
    if values is None or values[0] <= 0:
        raise InputError(
            f"{path.parent}: expected SliceThickness in a single slice, got {'none' if values is None else values[0]}; "
            "export it again"
        )
    return values[0]


def _groups(path: Path, header: pydicom.Dataset) -> list[tuple[pydicom.Dataset, ...]]:
    """Return the data sets that hold position, orientation, spacing and rescaling of each slice of a file."""
    count, frames = whole_number(path, header, "NumberOfFrames", 1), header.get("PerFrameFunctionalGroupsSequence")
    if count == 1 and not frames:
        return [(header,) * 4]
    if not frames or len(frames) != count:
        raise _without_groups(path, f"{len(frames or [])} for {count} frames")
    shared = (header.get("SharedFunctionalGroupsSequence") or [pydicom.Dataset()])[0]
    parts = ("PlanePosition", "PlaneOrientation", "PixelMeasures", "PixelValueTransformation")
    names = [f"{part}Sequence" for part in parts]
    # Some kinds of files have the rescaling of all frames outside the groups.
    none = {name: [pydicom.Dataset()] for name in names} | {names[-1]: [header]}
    return [tuple((frame.get(name) or shared.get(name) or none[name])[0] for name in names) for frame in frames]


def _without_groups(path: Path, got: str) -> InputError:
    return InputError(
        f"{path.parent}: expected position, orientation and spacing of every frame, got {got}; "
        "export the series again, one file per slice"
    )


class _MissingError(InputError):
    """An element that every slice needs is missing."""


def _slice(
    path: Path,
    plane: pydicom.Dataset,
    axes: pydicom.Dataset,
    measures: pydicom.Dataset,
    values: pydicom.Dataset,
) -> Slice:
    """Read a slice from the data sets that hold its position, orientation, spacing and rescaling."""
    position = _needed(path, plane, "ImagePositionPatient", 3)
    orientation = _needed(path, axes, "ImageOrientationPatient", 6)
    spacing = _needed(path, measures, "PixelSpacing", 2)
    if spacing.min() <= 0:
        raise InputError(f"{path}: expected PixelSpacing above 0, got {plain(spacing.tolist())} mm; export again")
    rows, columns = orientation.reshape(2, 3)
    lengths = [float(np.linalg.norm(axis)) for axis in (rows, columns)]
    if not np.allclose(lengths, 1, atol=0.01) or np.linalg.norm(np.cross(rows, columns)) < 0.5:
        raise InputError(
            f"{path}: expected ImageOrientationPatient of two vectors of length 1 across each other, got "
            f"{plain(orientation.tolist())}; export the series again"
        )
    if "ModalityLUTSequence" in values:
        raise InputError(f"{path}: expected values in HU, got a ModalityLUTSequence; export the series in HU")
    slope = (numbers(path, values, "RescaleSlope", 1) or (1.0,))[0]
    if slope == 0:
        raise InputError(f"{path}: expected a RescaleSlope other than 0; export the series again")
    intercept = (numbers(path, values, "RescaleIntercept", 1) or (0.0,))[0]
    return Slice(position, orientation, spacing, slope, intercept)


def _needed(path: Path, dataset: pydicom.Dataset, name: str, count: int) -> np.ndarray:
    values = numbers(path, dataset, name, count)
    if values is None:
        raise _MissingError(f"{path.parent}: expected {name} in every slice, got some without; export the series again")
    return np.array(values)


def _words(dataset: pydicom.Dataset, name: str) -> list[str]:
    """Return the values of an element as text, without pydicom's conversion, which fails for some."""
    if name not in dataset:
        return []
    raw = dataset.get_item(name)
    kind = raw.VR if raw.VR not in (None, "UN") else dictionary_VR(raw.tag)
    if kind == "US" and isinstance(raw.value, bytes) and len(raw.value) == 2:
        # The most frequent kind; pydicom's own conversion takes many times as long.
        return [str(int.from_bytes(raw.value, "little" if raw.is_little_endian else "big"))]
    if kind in _BINARY or not isinstance(raw.value, bytes):
        value = dataset[name].value
        several = value if isinstance(value, (list, tuple, pydicom.multival.MultiValue)) else [value]
        return [str(one).strip() for one in several if one is not None]
    text = raw.value.decode("latin-1").strip(" \0")
    return [word.strip() for word in text.split("\\")] if text else []
