"""Volumes in files: reading, writing and comparing 3D `SimpleITK.Image`s, whose arrays have slices first, (d, h, w)."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ltvs.runtime.errors import InputError, itk_reason
from ltvs.runtime.files import atomic_path
from ltvs.volume.dicom import read_series
from ltvs.volume.formats.metaimage import read_metaimage
from ltvs.volume.formats.nifti import read_nifti
from ltvs.volume.formats.nrrd import read_nrrd
from ltvs.volume.grids import Grid
from ltvs.volume.label_values import finite, whole_labels
from ltvs.volume.labels import MEANINGS

VOLUME_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha")

#: Bytes before the voxels of a NIfTI file: ITK writes 352, and few more for extensions.
_SMALLEST_HEADER, _LARGEST_HEADER = 352, 4096


def stem(path: Path) -> str:
    """Return the file name without its volume suffix: `case7` for `a/case7.nii.gz`."""
    for suffix in VOLUME_SUFFIXES:
        if path.name.lower().endswith(suffix):
            return path.name[: -len(suffix)]
    return path.name


def volume_files(paths: Iterable[Path]) -> list[Path]:
    """Return the volume files among paths, sorted, without hidden ones: macOS puts `._x.nii.gz` beside `x.nii.gz`."""
    visible = (path for path in sorted(paths) if not path.name.startswith("."))
    return [path for path in visible if path.name.lower().endswith(VOLUME_SUFFIXES) and path.is_file()]


def read_ct(path: Path, *, force: bool = False, files: Iterable[Path] | None = None) -> sitk.Image:
    """Read a CT from a volume file or from a folder with one DICOM series, in HU as int16.

    Args:
        path: the file or the folder.
        force: whether to take a file that says that it is of another modality.
        files: the files of the series, if the folder holds others too.

    Raises:
        InputError: the path is missing or unreadable, is not one 3D series, is of another modality, or its values are
            not HU.
    """
    volume = _read(path, None if force else "CT", files)
    if volume.GetPixelID() == sitk.sitkInt16:
        return volume
    values = np.rint(finite(path, sitk.GetArrayViewFromImage(volume)))
    if values.min() < -32768 or values.max() > 32767:
        raise InputError(
            f"{path}: values {values.min():g} to {values.max():g} are not HU; apply the rescale slope and intercept"
        )
    return Grid.of(volume).place(sitk.GetImageFromArray(values.astype(np.int16)))


def read_labels(path: Path, meanings: Mapping[int, str] = MEANINGS) -> sitk.Image:
    """Read a label map as uint8; values within a hundredth of whole numbers are rounded.

    Args:
        path: of the file.
        meanings: of the values allowed besides 0, background; the pipeline's own if not given.

    Raises:
        InputError: the file is missing or unreadable, is not 3D, or has other values.
    """
    if path.is_dir():
        raise InputError(f"{path}: is a folder; expected a file that ends in {', '.join(VOLUME_SUFFIXES)}")
    volume = _read(path)
    values = whole_labels(path, sitk.GetArrayViewFromImage(volume))
    found = np.unique(values)
    if not np.isin(found, (0, *meanings)).all():
        shown = ", ".join(f"{value:g}" for value in found[:6])
        expected = ", ".join(f"{value} {meaning}" for value, meaning in meanings.items())
        raise InputError(f"{path}: expected labels 0 background, {expected}; got {shown}")
    return Grid.of(volume).place(sitk.GetImageFromArray(values.astype(np.uint8)))


def read_mask(path: Path) -> sitk.Image:
    """Read a mask from a volume file or from a folder with one DICOM series: 1 where it is above 0, uint8.

    Values within a hundredth of whole numbers are rounded.

    Raises:
        InputError: the path is missing or unreadable, is not one 3D series, or has negative values or fractions.
    """
    volume = _read(path)
    above = whole_labels(path, sitk.GetArrayViewFromImage(volume)) > 0
    return Grid.of(volume).place(sitk.GetImageFromArray(above.view(np.uint8)))


def check_name(path: Path) -> None:
    """Raise InputError if no volume can be written under this name: its suffix is not known, or it is not in UTF-8."""
    if not path.name.lower().endswith(VOLUME_SUFFIXES):
        raise InputError(f"{path}: expected a name that ends in {', '.join(VOLUME_SUFFIXES)}")
    try:
        str(path.absolute()).encode()
    except UnicodeEncodeError:
        raise InputError(f"{path}: expected names of file and folders in UTF-8; rename them") from None


def write_volume(volume: sitk.Image, path: Path) -> None:
    """Write a volume, compressed, atomically.

    Raises:
        InputError: the name has no known suffix or is not in UTF-8, or the file cannot be written.
    """
    check_name(path)
    with atomic_path(path) as temporary:
        # ITK does not know all suffixes in capitals.
        lower = temporary.with_name(temporary.name.lower())
        try:
            sitk.WriteImage(volume, str(lower), useCompression=True)
        except RuntimeError as error:
            raise InputError(f"{path}: cannot be written ({itk_reason(error)}); is the disk full?") from error
        lower.rename(temporary)
        if not _is_complete(volume, temporary):
            raise InputError(f"{path}: cannot be written completely; is the disk full?")


def same_grid(a: sitk.Image, b: sitk.Image) -> bool:
    """Return whether two volumes have the same size and the same place in space, to a thousandth of a voxel."""
    first, second = Grid.of(a), Grid.of(b)
    if first.size != second.size:
        return False
    return bool(np.abs(first.corners() - second.corners()).max() <= 1e-3 * min(first.spacing))


def _read(path: Path, modality: str | None = None, files: Iterable[Path] | None = None) -> sitk.Image:
    """Read a volume file or a folder with one DICOM series, of any modality if None."""
    if path.is_dir():
        return read_series(path, modality, files)
    if not path.exists():
        raise InputError(f"{path}: does not exist")
    if not path.is_file() or not path.name.lower().endswith(VOLUME_SUFFIXES):
        raise InputError(
            f"{path}: expected a file that ends in {', '.join(VOLUME_SUFFIXES)}, or a folder with a DICOM series"
        )
    try:
        match path.suffix.lower():
            case ".mha":
                return read_metaimage(path, modality)
            case ".nrrd":
                return read_nrrd(path, modality)
            case _:
                return read_nifti(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error


def _is_complete(volume: sitk.Image, path: Path) -> bool:
    """Return whether a file holds all voxels: ITK does not report a disk that fills up while it writes NIfTI."""
    values = volume.GetNumberOfPixels() * volume.GetNumberOfComponentsPerPixel()
    expected = values * volume.GetSizeOfPixelComponent()
    name = path.name.lower()
    if name.endswith(".nii"):
        return bool(path.stat().st_size >= expected + _SMALLEST_HEADER)
    if not name.endswith(".nii.gz"):
        return True
    with path.open("rb") as file:
        # The last four bytes of a gzip file are its uncompressed size modulo 2**32, or random if it is truncated.
        file.seek(-min(4, path.stat().st_size), os.SEEK_END)
        found = int.from_bytes(file.read(4), "little")
    return bool(_SMALLEST_HEADER <= (found - expected) % 2**32 < _LARGEST_HEADER)
