"""The grid that the header of a NIfTI file describes.

A header may give it twice, as sform and as qform, and repeats the size of a voxel in pixdim. ITK takes pixdim, whatever
the sform says, and only warns. Here the sform holds if there is one, as in most viewers, and a header that contradicts
itself is an error: labels would lie in place in one viewer and beside the organ in another.
"""

import gzip
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from nibabel import Nifti1Header
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError

from ltvs.runtime.errors import InputError
from ltvs.volume.grids import Grid, affine_grid, check_right_angles

#: mm per unit of length of a header; an unknown unit is taken for mm.
_MM = {"meter": 1e3, "micron": 1e-3}

#: From NIfTI's axes, right, front, head, to those of DICOM and ITK: left, back, head.
_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def nifti_grid(path: Path) -> Grid:
    """Read the grid from the header of a NIfTI-1 file, in ITK's space.

    Raises:
        InputError: the header is missing, does not place the voxels, or contradicts itself.
    """
    try:
        header = _header(path)
        sform = header.get_sform(coded=True)[0]
        positive = bool((header["pixdim"][1:4] > 0).all())
        qform = header.get_qform(coded=True)[0] if positive else None
    except (OSError, EOFError, ValueError, zlib.error, HeaderDataError, WrapStructError) as error:
        raise InputError(f"{path}: cannot be read as a volume; is it complete? ({error})") from error
    if sform is None and not positive:
        raise InputError(
            f"{path}: expected lengths above 0 in pixdim, got {_list(header['pixdim'][1:4])}, and there is no sform; "
            "convert the CT from DICOM again"
        )
    affine = qform if sform is None else sform
    if affine is None:
        raise InputError(
            f"{path}: expected an sform or a qform, got neither, so the orientation is unknown; "
            "convert the CT from DICOM again"
        )
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    if not (lengths.min() > 0 and np.isfinite(affine).all()):
        raise InputError(f"{path}: expected voxels with three lengths, got {_list(lengths)} mm; convert the CT again")
    x, y, z = (int(n) for n in (*header.get_data_shape(), 1, 1)[:3])
    if sform is not None and qform is not None:
        _check_agreement(path, sform, qform, (x, y, z))
    grid = affine_grid((x, y, z), _TO_LPS @ affine * _MM.get(header.get_xyzt_units()[0], 1.0))
    check_right_angles(path, grid)
    return grid


def nifti_voxels(path: Path) -> tuple[int, np.dtype[Any]]:
    """Return the offset of the voxels in a NIfTI-1 file, bytes, and their type with its byte order."""
    header = _header(path)
    return int(header["vox_offset"]), header.get_data_dtype()


def _header(path: Path) -> Nifti1Header:
    with gzip.open(path) if path.name.lower().endswith(".gz") else path.open("rb") as file:
        header = Nifti1Header(file.read(Nifti1Header.sizeof_hdr), check=False)
    if header["sizeof_hdr"] != Nifti1Header.sizeof_hdr:
        raise HeaderDataError("it does not begin with a NIfTI-1 header")
    return header


def _check_agreement(path: Path, sform: np.ndarray, qform: np.ndarray, size: tuple[int, int, int]) -> None:
    """Raise InputError if sform and qform put a corner more than half a voxel apart, the tolerance of labels."""
    corners = np.array([[*np.multiply(bits, np.subtract(size, 1)), 1] for bits in np.ndindex(2, 2, 2)])
    apart = np.linalg.norm(corners @ (sform - qform).T, axis=1).max()
    if not apart <= np.linalg.norm(qform[:3, :3], axis=0).min() / 2:
        raise InputError(
            f"{path}: expected sform and qform to place the voxels alike, got {apart:.3g} mm between them; "
            "find out which is right and correct the other"
        )


def _list(values: np.ndarray) -> str:
    return " x ".join(f"{value:.4g}" for value in values)
