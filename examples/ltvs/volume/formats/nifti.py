"""NIfTI-1 files.

A header may give the grid twice, as sform and as qform, and repeats the size of a voxel in pixdim. ITK takes pixdim,
whatever the sform says, and only warns. Here the sform holds if there is one, as in most viewers, and a header that
contradicts itself is an error: labels would lie in place in one viewer and beside the organ in another. A form that
places no voxel does not contradict the other.
"""

import gzip
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
import SimpleITK as sitk
from nibabel import Nifti1Header
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError

from ltvs.runtime.errors import InputError
from ltvs.volume.formats.header_lines import check_three_axes
from ltvs.volume.formats.voxels import UNREADABLE, read_voxels
from ltvs.volume.grids import Grid, sound_grid

#: mm per unit of length, by its code in a header; any other code is unknown, and taken for mm.
_MM = {1: 1e3, 3: 1e-3}

#: From NIfTI's axes, right, front, head, to those of DICOM and ITK: left, back, head.
_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])

#: By how much the squares of a quaternion may exceed 1 in sum: single precision explains as much, and the turn is known
#: to a tenth of a degree.
_QUATERNION_ROUNDING = 1e-6


def read_nifti(path: Path) -> sitk.Image:
    """Read a NIfTI-1 file: its values, scaled as the header says, on the grid that the header describes.

    Raises:
        InputError: the header is missing, does not place the voxels or contradicts itself, the volume is not 3D with
            one value per voxel, or voxels are missing or damaged.
    """
    with _opened(path) as file:
        header = _header(path, file)
        size, kind = _size(path, header), _kind(path, header)
        grid = _grid(path, header, size)
        slope, intercept = _scale(path, header)
        _skip(path, file, float(header["vox_offset"]) - Nifti1Header.sizeof_hdr)
        values = read_voxels(path, file, "raw", size, kind)
    if (slope, intercept) != (1, 0):
        with np.errstate(over="ignore"):  # infinite voxels are an error of their own
            values = values.astype(np.float64) * slope + intercept
    return grid.place(sitk.GetImageFromArray(values))


def nifti_grid(path: Path) -> Grid:
    """Read the grid from the header of a NIfTI-1 file, in ITK's space.

    Raises:
        InputError: the header is missing, is not of one 3D volume, does not place the voxels, or contradicts itself.
    """
    with _opened(path) as file:
        header = _header(path, file)
        return _grid(path, header, _size(path, header))


def _opened(path: Path) -> IO[bytes]:
    return cast("IO[bytes]", gzip.open(path)) if path.name.lower().endswith(".gz") else path.open("rb")


def _header(path: Path, file: IO[bytes]) -> Nifti1Header:
    try:
        header = Nifti1Header(file.read(Nifti1Header.sizeof_hdr), check=False)
    except (*UNREADABLE, WrapStructError) as error:
        raise InputError(f"{path}: cannot be read as a volume; is it complete? ({error})") from error
    if bytes(header.binaryblock[4:7]) == b"n+2":
        raise InputError(f"{path}: expected a NIfTI-1 file, got NIfTI-2; save it as NIfTI-1")
    if header["sizeof_hdr"] != Nifti1Header.sizeof_hdr or header["magic"] != b"n+1":
        raise InputError(
            f"{path}: cannot be read as a volume; is it complete? (it does not begin with a NIfTI-1 header of one file)"
        )
    return header


def _size(path: Path, header: Nifti1Header) -> tuple[int, int, int]:
    """Return the voxels along x, y, z."""
    count, *lengths = (int(n) for n in header["dim"])
    if not 1 <= count <= 7 or min(lengths[:count]) < 1:
        raise InputError(
            f"{path}: expected 1 to 7 axes of 1 or more voxels, got {count} of {lengths}; is it damaged? Copy it again"
        )
    x, y, z, times, components = (*lengths[:count], 1, 1, 1, 1)[:5]
    if components != 1:
        raise InputError(f"{path}: expected one value per voxel, got {components}; color images are not CT")
    several = times != 1 or max(lengths[5:count], default=1) > 1
    check_three_axes(path, 4 if several else min(count, 3))
    return x, y, z


def _kind(path: Path, header: Nifti1Header) -> np.dtype[Any]:
    """Return the type of the voxels with its byte order."""
    try:
        kind: np.dtype[Any] = header.get_data_dtype()
    except (HeaderDataError, KeyError) as error:
        raise InputError(f"{path}: has voxels of an unknown type ({error}); convert it again") from error
    if kind.names:
        raise InputError(f"{path}: expected one value per voxel, got {len(kind.names)}; color images are not CT")
    if kind.kind not in "iuf" or kind.itemsize > 8:
        raise InputError(f"{path}: expected integers or floats of up to 64 bits, got {kind}; convert it again")
    return kind


def _scale(path: Path, header: Nifti1Header) -> tuple[float, float]:
    """Return slope and intercept of the values; a slope of 0, or of NaN as nibabel writes, stands for none."""
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if slope == 0 or np.isnan(slope):
        return 1.0, 0.0
    if not np.isfinite([slope, intercept]).all():
        raise InputError(
            f"{path}: expected a finite scl_slope and scl_inter, got {slope:g} and {intercept:g}; convert it again"
        )
    return slope, intercept


def _skip(path: Path, file: IO[bytes], count: float) -> None:
    """Go on to the first voxel, past the extensions of the header."""
    if not (count >= 0 and count.is_integer()):
        raise InputError(
            f"{path}: expected a whole vox_offset of {Nifti1Header.sizeof_hdr} or more, "
            f"got {count + Nifti1Header.sizeof_hdr:g}; is it damaged? Copy it again"
        )
    try:
        while count > 0 and (block := file.read(int(min(count, 1 << 20)))):
            count -= len(block)
    except UNREADABLE as error:
        raise InputError(f"{path}: is cut short or damaged ({error}); copy it again") from error


def _grid(path: Path, header: Nifti1Header, size: tuple[int, int, int]) -> Grid:
    with np.errstate(all="ignore"):  # what is not finite in a header does not count
        (sform, no_sform), (qform, no_qform) = _sform(header), _qform(header)
    affine = qform if sform is None else sform
    if affine is None:
        raise InputError(
            f"{path}: expected an sform or a qform that places the voxels, got {no_sform} and {no_qform}; "
            "convert the CT from DICOM again"
        )
    if sform is not None and qform is not None:
        _check_agreement(path, sform, qform, size)
    return sound_grid(path, size, _TO_LPS @ affine * _MM.get(int(header["xyzt_units"]) & 7, 1.0))


def _sform(header: Nifti1Header) -> tuple[np.ndarray | None, str]:
    """Return the sform, or None and why there is none that counts."""
    affine = header.get_sform(coded=True)[0]
    if affine is None:
        return None, "no sform"
    return (affine, "") if _places(affine) else (None, f"an sform with axes of {_lengths(affine)}")


def _qform(header: Nifti1Header) -> tuple[np.ndarray | None, str]:
    """Return the qform, or None and why there is none that counts."""
    header = header.copy()
    if header["pixdim"][0] == 0:
        header["pixdim"][0] = 1  # as the standard says
    quaternion = np.array([header[f"quatern_{axis}"] for axis in "bcd"], dtype=float)
    if 1 < (square := float(quaternion @ quaternion)) <= 1 + _QUATERNION_ROUNDING:
        for axis in "bcd":
            header[f"quatern_{axis}"] /= np.sqrt(square)
    try:
        affine = header.get_qform(coded=True)[0]
    except (HeaderDataError, ValueError) as error:
        return None, f"a qform that cannot be read ({error})"
    if affine is None:
        return None, "no qform"
    return (affine, "") if _places(affine) else (None, f"a qform with axes of {_lengths(affine)}")


def _places(affine: np.ndarray) -> bool:
    """Return whether an affine map gives every voxel a place of its own along each axis."""
    return bool(np.isfinite(affine).all() and np.linalg.norm(affine[:3, :3], axis=0).min() > 0)


def _lengths(affine: np.ndarray) -> str:
    return " x ".join(f"{mm:.4g}" for mm in np.linalg.norm(affine[:3, :3], axis=0)) + " mm"


def _check_agreement(path: Path, sform: np.ndarray, qform: np.ndarray, size: tuple[int, int, int]) -> None:
    """Raise InputError if sform and qform put a corner more than half a voxel apart, the tolerance of labels."""
    corners = np.array([[*np.multiply(bits, np.subtract(size, 1)), 1] for bits in np.ndindex(2, 2, 2)])
    apart = np.linalg.norm(corners @ (sform - qform).T, axis=1).max()
    if not apart <= np.linalg.norm(qform[:3, :3], axis=0).min() / 2:
        raise InputError(
            f"{path}: expected sform and qform to place the voxels alike, got {apart:.3g} mm between them; "
            "find out which is right and correct the other"
        )
