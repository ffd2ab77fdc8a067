"""Fields of NIfTI headers that are unusual, rounded or damaged."""

import gzip
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from ltvs.runtime.errors import InputError
from ltvs.volume.formats.nifti import nifti_grid, read_nifti
from ltvs.volume.images import read_ct
from support.tiny_cases import OBLIQUE

SIZE = (5, 6, 7)
AFFINE = np.eye(4)
AFFINE[:3, :3], AFFINE[:3, 3] = OBLIQUE[1] * (0.7, 0.8, 1.5), (-31.0, 12.5, 140.0)
#: The direction of `AFFINE` in ITK's space.
DIRECTION = np.diag([-1, -1, 1]) @ OBLIQUE[1]

Edit = Callable[[nibabel.Nifti1Header], None]


def written(path: Path, *edits: Edit, sform: int = 1, qform: int = 1, kind: type = np.int16) -> Path:
    """A file with both forms, alike, of these codes; each edit may spoil its header."""
    values = np.arange(210).reshape(SIZE).astype(kind)
    image = nibabel.Nifti1Image(values, AFFINE)
    image.set_sform(AFFINE, sform)
    image.set_qform(AFFINE, qform)
    image.to_filename(path)
    content = path.read_bytes()
    header = nibabel.Nifti1Header(content[:348], check=False)
    for edit in edits:
        edit(header)
    path.write_bytes(header.binaryblock + content[348:])
    return path


def field(name: str, value: object, index: int | None = None) -> Edit:
    def edit(header: nibabel.Nifti1Header) -> None:
        if index is None:
            header[name] = value
        else:
            header[name][index] = value

    return edit


def quaternion(b: float, c: float, d: float) -> Edit:
    def edit(header: nibabel.Nifti1Header) -> None:
        header["quatern_b"], header["quatern_c"], header["quatern_d"] = b, c, d

    return edit


def rows(affine: np.ndarray) -> Edit:
    def edit(header: nibabel.Nifti1Header) -> None:
        header["srow_x"], header["srow_y"], header["srow_z"] = affine[:3]

    return edit


@pytest.mark.parametrize(
    "edit",
    [
        quaternion(0.6, 0.8, 0.01),
        quaternion(1, 1, 0),
        quaternion(np.nan, 0, 0),
        quaternion(np.inf, 0, 0),
        field("pixdim", 7, 0),
        field("pixdim", np.nan, 0),
        field("pixdim", 0, 2),
        field("pixdim", np.nan, 2),
        field("pixdim", np.inf, 2),
        field("pixdim", -1.5, 3),
        field("qoffset_x", np.nan),
        field("qoffset_y", -np.inf),
    ],
)
def test_a_qform_that_places_nothing_does_not_count_beside_a_sound_sform(edit: Edit, tmp_path: Path) -> None:
    grid = nifti_grid(written(tmp_path / "ct.nii", edit))
    np.testing.assert_allclose(np.reshape(grid.direction, (3, 3)), DIRECTION, atol=1e-6)
    np.testing.assert_allclose(grid.spacing, (0.7, 0.8, 1.5), rtol=1e-6)
    np.testing.assert_allclose(grid.origin, (31.0, -12.5, 140.0), rtol=1e-6)
    with pytest.raises(InputError, match=r"expected an sform or a qform that places .* got no sform and a qform"):
        nifti_grid(written(tmp_path / "ct.nii", edit, field("sform_code", 0)))


@pytest.mark.parametrize(
    "affine",
    [np.zeros((4, 4)), np.full((4, 4), np.nan), AFFINE * [1, 1, 0, 1], np.add(AFFINE, np.diag([0, np.inf, 0, 0]))],
)
def test_an_sform_that_places_nothing_does_not_count_beside_a_sound_qform(affine: np.ndarray, tmp_path: Path) -> None:
    grid = nifti_grid(written(tmp_path / "ct.nii", rows(affine)))
    np.testing.assert_allclose(np.reshape(grid.direction, (3, 3)), DIRECTION, atol=1e-6)
    np.testing.assert_allclose(grid.spacing, (0.7, 0.8, 1.5), rtol=1e-6)
    with pytest.raises(InputError, match=r"got an sform with axes of .* mm and no qform; convert the CT from DICOM"):
        nifti_grid(written(tmp_path / "ct.nii", rows(affine), field("qform_code", 0)))


def test_a_quaternion_that_rounding_made_too_long_counts(tmp_path: Path) -> None:
    """`w2 should be positive, but is -6.4e-07`, says nibabel; ITK reads it."""
    long = np.sqrt((1 + 6.4e-7) / 3)
    path = written(tmp_path / "ct.nii", quaternion(long, long, long), sform=0)
    with pytest.raises(ValueError, match="w2 should be positive"):
        nibabel.Nifti1Header(path.read_bytes()[:348], check=False).get_qform()
    read = read_ct(path)
    itk = sitk.ReadImage(str(path))
    np.testing.assert_allclose(read.GetDirection(), itk.GetDirection(), atol=1e-6)
    np.testing.assert_allclose(read.GetOrigin(), itk.GetOrigin(), atol=1e-4)


def test_a_qfac_of_0_counts_as_1(tmp_path: Path) -> None:
    """As the standard says, and ITK does."""
    path = written(tmp_path / "ct.nii", field("pixdim", 0, 0), sform=0)
    np.testing.assert_allclose(nifti_grid(path).direction, sitk.ReadImage(str(path)).GetDirection(), atol=1e-6)


def test_an_sform_a_rounding_off_right_angles(tmp_path: Path) -> None:
    rounded = np.round(AFFINE, 3)
    for code in (0, 1):
        grid = nifti_grid(written(tmp_path / "ct.nii", rows(rounded), field("qform_code", code)))
        direction = np.reshape(grid.direction, (3, 3))
        np.testing.assert_allclose(direction, DIRECTION, atol=2e-3)
        np.testing.assert_allclose(direction.T @ direction, np.eye(3), atol=1e-12)


@pytest.mark.parametrize("code", [4, 5, 6, 7])
def test_a_unit_that_does_not_exist_is_unknown(code: int, tmp_path: Path) -> None:
    grid = nifti_grid(written(tmp_path / "ct.nii", field("xyzt_units", code)))
    np.testing.assert_allclose(grid.spacing, (0.7, 0.8, 1.5), rtol=1e-6)


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.int32, np.float32, np.float64])
@pytest.mark.parametrize(
    ("slope", "intercept"), [(2, -1024), (0.5, 3), (-1, 0), (0, 7), (np.nan, np.nan), (1, 0), (0.003921569, 0)]
)
def test_values_are_scaled_as_nibabel_does(kind: type, slope: float, intercept: float, tmp_path: Path) -> None:
    path = written(tmp_path / "ct.nii", field("scl_slope", slope), field("scl_inter", intercept), kind=kind)
    expected = np.asanyarray(nibabel.load(path).dataobj).T
    np.testing.assert_allclose(sitk.GetArrayFromImage(read_nifti(path)), expected, rtol=1e-12)


def test_the_other_byte_order(tmp_path: Path) -> None:
    values = np.arange(-100, 110, dtype=np.int16).reshape(SIZE)
    header = nibabel.Nifti1Header(endianness=">")
    header.set_data_dtype(np.int16)
    nibabel.Nifti1Image(values, AFFINE, header).to_filename(tmp_path / "ct.nii")
    assert (tmp_path / "ct.nii").read_bytes()[:4] == b"\0\0\1\x5c"
    np.testing.assert_array_equal(sitk.GetArrayFromImage(read_ct(tmp_path / "ct.nii")), values.T)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (field("scl_slope", np.inf), "expected a finite scl_slope and scl_inter, got inf and 0; convert it again"),
        (field("scl_inter", np.inf), "expected a finite scl_slope and scl_inter, got 1 and inf"),
        (field("datatype", 999), "has voxels of an unknown type .*; convert it again"),
        (field("datatype", 32), "expected integers or floats of up to 64 bits, got complex64; convert it again"),
        (field("datatype", 128), "expected one value per voxel, got 3; color images are not CT"),
        (field("datatype", 0), "expected integers or floats of up to 64 bits, got"),
        (field("vox_offset", 0), "expected a whole vox_offset of 348 or more, got 0; is it damaged"),
        (field("vox_offset", np.nan), "expected a whole vox_offset of 348 or more, got nan"),
        (field("vox_offset", 352.5), "expected a whole vox_offset of 348 or more, got 352.5"),
        (field("vox_offset", 1e30), "is cut short, 0 of 420 bytes of voxels are there"),
        (field("vox_offset", 348), "expected 420 bytes of voxels as its header says, got more; is the header damaged"),
        (field("magic", b"ni1"), "it does not begin with a NIfTI-1 header of one file"),
        (field("dim", 0, 0), "expected 1 to 7 axes of 1 or more voxels, got 0 of"),
        (field("dim", -6, 2), "expected 1 to 7 axes of 1 or more voxels, got 3 of"),
        (field("dim", 2, 0), "expected a 3D volume, got 2D; give all slices in one file"),
        (field("pixdim", 1e-4, 1), "expected voxels of 0.01 to 100 mm at a finite place, got 0.0001 x 0.8 x 1.5 mm"),
        (field("pixdim", 1e30, 3), "expected voxels of 0.01 to 100 mm at a finite place"),
        (field("qoffset_z", 1e30), "expected a place within 100 m of the scanner's origin"),
        (field("xyzt_units", 1), "expected voxels of 0.01 to 100 mm at a finite place, got 700 x 800 x 1500 mm"),
    ],
)
def test_a_field_that_makes_no_sense(edit: Edit, message: str, tmp_path: Path) -> None:
    path = written(tmp_path / "ct.nii", field("scl_slope", 1), field("scl_inter", 0), edit, sform=0)
    with pytest.raises(InputError, match=message) as caught:
        read_ct(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_a_file_cut_short_before_its_voxels(tmp_path: Path) -> None:
    content = written(tmp_path / "ct.nii", field("vox_offset", 100_000)).read_bytes()
    noise = np.random.default_rng(0).bytes(200_000)
    (tmp_path / "ct.nii.gz").write_bytes(gzip.compress(content[:348] + noise)[:50_000])
    with pytest.raises(InputError, match=r"ct.nii.gz: is cut short or damaged \(Compressed file ended"):
        read_ct(tmp_path / "ct.nii.gz")
