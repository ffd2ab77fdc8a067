"""Volumes in files: reading, writing and comparing 3D `SimpleITK.Image`s, whose arrays have slices first, (d, h, w)."""

import gzip
import os
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ltvs.runtime.errors import InputError, itk_reason
from ltvs.runtime.files import atomic_path
from ltvs.volume.dicom import read_series
from ltvs.volume.grids import Grid, check_right_angles
from ltvs.volume.labels import MEANINGS
from ltvs.volume.nifti import nifti_grid, nifti_voxels

VOLUME_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha")

#: Bytes: ITK writes 352 before the voxels of a NIfTI file, and few more for extensions.
_LARGEST_HEADER = 4096


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


def read_ct(path: Path, *, force: bool = False) -> sitk.Image:
    """Read a CT from a volume file or from a folder with one DICOM series, in HU as int16.

    Args:
        path: of the file or the folder.
        force: take it although its checks fail: a DICOM series of another modality.

    Raises:
        InputError: the path is missing or unreadable, is not one 3D series, is of another modality, or its values are
            not HU.
    """
    volume = read_series(path, None if force else "CT") if path.is_dir() else _read_file(path)
    if volume.GetPixelID() == sitk.sitkInt16:
        return volume
    values = sitk.GetArrayViewFromImage(volume)
    if not np.isfinite(values).all():
        raise InputError(f"{path}: has NaN or infinite voxels; repair the CT before using it")
    if values.min() < -32768 or values.max() > 32767:
        raise InputError(
            f"{path}: values {values.min():g} to {values.max():g} are not HU; apply the rescale slope and intercept"
        )
    return sitk.Cast(volume, sitk.sitkInt16)


def read_labels(path: Path, meanings: Mapping[int, str] = MEANINGS) -> sitk.Image:
    """Read a label map as uint8.

    Args:
        path: of the file.
        meanings: of the values allowed besides 0, background; the pipeline's own if not given.

    Raises:
        InputError: the file is missing or unreadable, is not 3D, or has other values.
    """
    volume = _read_file(path)
    values = sitk.GetArrayViewFromImage(volume)
    found = np.unique(values)
    if not np.isin(found, (0, *meanings)).all():
        shown = ", ".join(f"{value:g}" for value in found[:6])
        expected = ", ".join(f"{value} {meaning}" for value, meaning in meanings.items())
        raise InputError(f"{path}: expected labels 0 background, {expected}; got {shown}")
    return sitk.Cast(volume, sitk.sitkUInt8)


def read_mask(path: Path) -> sitk.Image:
    """Read a mask from a volume file or from a folder with one DICOM series: 1 where it is above 0, uint8.

    Raises:
        InputError: the path is missing or unreadable, or is not one 3D series.
    """
    volume = read_series(path) if path.is_dir() else _read_file(path)
    above = sitk.GetArrayViewFromImage(volume) > 0  # numpy is several times faster at this
    return Grid.of(volume).place(sitk.GetImageFromArray(above.view(np.uint8)))


def check_suffix(path: Path) -> None:
    """Raise InputError if the name has no suffix under which a volume can be written."""
    if not path.name.lower().endswith(VOLUME_SUFFIXES):
        raise InputError(f"{path}: expected a name that ends in {', '.join(VOLUME_SUFFIXES)}")


def write_volume(volume: sitk.Image, path: Path) -> None:
    """Write a volume, compressed, atomically.

    Raises:
        InputError: the name has no known suffix, or the file cannot be written.
    """
    check_suffix(path)
    with atomic_path(path) as temporary:
        try:
            sitk.WriteImage(volume, str(temporary), useCompression=True)
        except RuntimeError as error:
            raise InputError(f"{path}: cannot be written ({itk_reason(error)}); is the disk full?") from error
        if not _is_complete(volume, temporary):
            raise InputError(f"{path}: cannot be written completely; is the disk full?")


def same_grid(a: sitk.Image, b: sitk.Image) -> bool:
    """Return whether two volumes have the same size and the same place in space, to a thousandth of a voxel."""
    first, second = Grid.of(a), Grid.of(b)
    if first.size != second.size:
        return False
    return bool(np.abs(first.corners() - second.corners()).max() <= 1e-3 * min(first.spacing))


def _read_file(path: Path) -> sitk.Image:
    if not path.exists():
        raise InputError(f"{path}: does not exist")
    if path.is_dir():
        raise InputError(f"{path}: is a folder; expected a file that ends in {', '.join(VOLUME_SUFFIXES)}")
    if not path.name.lower().endswith(VOLUME_SUFFIXES):
        raise InputError(
            f"{path}: expected a file that ends in {', '.join(VOLUME_SUFFIXES)}, or a folder with a DICOM series"
        )
    grid = nifti_grid(path) if path.name.lower().endswith((".nii", ".nii.gz")) else None
    try:
        volume = sitk.ReadImage(str(path))
    except RuntimeError as error:
        raise InputError(f"{path}: cannot be read as a volume; is it complete? ({itk_reason(error)})") from error
    if grid is not None:
        _check_voxels(path, volume)
    if volume.GetNumberOfComponentsPerPixel() != 1:
        raise InputError(
            f"{path}: expected one value per voxel, got {volume.GetNumberOfComponentsPerPixel()}; "
            "color images are not CT"
        )
    if volume.GetDimension() != 3:
        remedy = "one time point" if volume.GetDimension() > 3 else "all slices in one file"
        raise InputError(f"{path}: expected a 3D volume, got {volume.GetDimension()}D; give {remedy}")
    if grid is not None:
        return grid.place(volume)
    check_right_angles(path, Grid.of(volume))
    return volume


def _is_complete(volume: sitk.Image, path: Path) -> bool:
    """Return whether a file holds all voxels: ITK does not report a disk that fills up while it writes NIfTI."""
    values = volume.GetNumberOfPixels() * volume.GetNumberOfComponentsPerPixel()
    expected = values * volume.GetSizeOfPixelComponent()
    name = path.name.lower()
    if name.endswith(".nii"):
        return bool(path.stat().st_size >= expected)
    if not name.endswith(".nii.gz"):
        return True
    with path.open("rb") as file:
        # The last four bytes of a gzip file are its uncompressed size modulo 2**32, or random if it is truncated.
        file.seek(-min(4, path.stat().st_size), os.SEEK_END)
        found = int.from_bytes(file.read(4), "little")
    return bool((found - expected) % 2**32 < _LARGEST_HEADER)


def _check_voxels(path: Path, volume: sitk.Image) -> None:
    """Raise InputError for a truncated NIfTI file and for NaN: ITK silently fills the rest, and reads NaN as 0."""
    start, kind = nifti_voxels(path)
    expected = start + volume.GetNumberOfPixels() * int(volume.GetMetaData("bitpix")) // 8
    found, finite = 0, True
    try:
        with gzip.open(path) if path.name.lower().endswith(".gz") else path.open("rb") as file:
            found += len(file.read(start))
            while block := file.read(1 << 22):
                found += len(block)
                if kind.kind == "f":
                    values = np.frombuffer(block, kind, len(block) // kind.itemsize)
                    finite = finite and bool(np.isfinite(values).all())
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: is cut short or damaged ({error}); copy it again") from error
    if found < expected:
        raise InputError(f"{path}: is cut short, {found} of {expected} bytes are there; copy it again")
    if not finite:
        raise InputError(f"{path}: has NaN or infinite voxels; repair the file before using it")
