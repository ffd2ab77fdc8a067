"""Volumes and surfaces as the bytes that NiiVue reads: NIfTI and MZ3, in millimetres to the right, front and head."""

import struct

import numpy as np
import SimpleITK as sitk
from jaxtyping import Float
from nibabel import Nifti1Header
from numpy import ndarray

from ltvs.delivery.surfaces import Surface
from ltvs.volume.grids import Grid

#: From the patient's left, back and head, as DICOM and SimpleITK count, to NIfTI's right, front and head.
_TO_RAS = np.diag((-1.0, -1.0, 1.0, 1.0))

#: HU per step of the values on a page: finer ones are noise, which does not compress. The second is for noisy CTs.
STEPS = (2, 4)
#: HU that are told apart: the noise of the air around the patient, half of most CTs, would not compress either.
LOWEST, HIGHEST = -952, 3072

#: "MZ" as the format's first two bytes, and its flags for faces and points.
_MZ3, _HAS_FACES, _HAS_POINTS = 23117, 1, 2
#: Points are written in this part of a mm: digits below it would not compress.
_POINT_STEPS = 64


def affine_of(grid: Grid) -> Float[ndarray, "4 4"]:
    """Return the map from the index of a voxel, (x, y, z, 1), to its center in mm, RAS."""
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(grid.direction, (3, 3)) * grid.spacing
    affine[:3, 3] = grid.origin
    return _TO_RAS @ affine


def ct_bytes(ct: sitk.Image, step: int) -> bytes:
    """Return a CT, HU as int16, as NIfTI, in steps of that many HU."""
    steps = np.rint(np.clip(sitk.GetArrayViewFromImage(ct), LOWEST, HIGHEST) / np.float32(step)).astype("<i2")
    return _nifti(steps, Grid.of(ct), step)


def label_bytes(labels: sitk.Image) -> bytes:
    """Return a label map, uint8, as NIfTI."""
    return _nifti(sitk.GetArrayViewFromImage(labels), Grid.of(labels), 1)


def surface_bytes(surface: Surface) -> bytes:
    """Return a surface as MZ3, not compressed.

    Args:
        surface: mm, LPS; its triangles face outwards, as they do afterwards.
    """
    points = np.rint(surface.points * np.diag(_TO_RAS)[:3] * _POINT_STEPS) / _POINT_STEPS
    head = struct.pack("<HHIII", _MZ3, _HAS_FACES | _HAS_POINTS, len(surface.faces), len(points), 0)
    return b"".join((head, surface.faces.astype("<i4").tobytes(), points.astype("<f4").tobytes()))


def _nifti(values: ndarray, grid: Grid, slope: float) -> bytes:
    header = Nifti1Header(endianness="<")
    header.set_data_dtype(values.dtype)
    header.set_data_shape(grid.size)
    header.set_sform(affine_of(grid), code="scanner")
    header.set_slope_inter(slope, 0)
    header.set_xyzt_units("mm")
    header["magic"], header["vox_offset"] = b"n+1", 352
    # Four bytes say that no extension follows.
    return b"".join((header.binaryblock, bytes(4), values.tobytes()))
