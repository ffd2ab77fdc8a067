"""Geometry in NIfTI headers: sform, qform, pixdim, and headers that contradict themselves."""

from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest

from ltvs.runtime.errors import InputError
from ltvs.volume.formats.nifti import nifti_grid
from ltvs.volume.grids import Grid
from ltvs.volume.images import read_ct
from support.tiny_cases import OBLIQUE

SIZE, SPACING = (5, 6, 7), np.array([0.7, 0.8, 1.5])
#: Left-handed and oblique, RAS.
AFFINE = np.eye(4)
AFFINE[:3, :3], AFFINE[:3, 3] = OBLIQUE[1] * SPACING, (-31.0, 12.5, 140.0)
LPS = np.diag([-1, -1, 1, 1])


def written(
    path: Path,
    sform: np.ndarray | None = None,
    qform: np.ndarray | None = None,
    edit: Callable[[nibabel.Nifti1Header], None] = lambda header: None,
    codes: tuple[int, int] = (1, 1),
) -> Path:
    """A file with these forms in its header; `edit` may spoil it."""
    nibabel.Nifti1Image(np.arange(210, dtype=np.int16).reshape(SIZE), None).to_filename(path)
    content = path.read_bytes()
    header = nibabel.Nifti1Header(content[:348], check=False)
    header["pixdim"][1:4] = SPACING
    for form, place, code in ((sform, header.set_sform, codes[0]), (qform, header.set_qform, codes[1])):
        place(form, code if form is not None else 0)
    edit(header)
    path.write_bytes(header.binaryblock + content[348:])
    return path


def turned(degrees: float) -> np.ndarray:
    """`AFFINE` turned about the body axis."""
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(a := np.radians(degrees)), -np.sin(a)], [np.sin(a), np.cos(a)]]
    return turn @ AFFINE


def one_millimeter(header: nibabel.Nifti1Header) -> None:
    header["pixdim"][1:4] = 1


def negative(header: nibabel.Nifti1Header) -> None:
    header["pixdim"][1] *= -1


def in_micrometers(header: nibabel.Nifti1Header) -> None:
    header.set_xyzt_units("micron")


@pytest.mark.parametrize(
    "forms",
    [
        {"sform": AFFINE},
        {"qform": AFFINE},
        {"sform": AFFINE, "qform": AFFINE},
        {"sform": AFFINE, "codes": (4, 0)},
        {"sform": AFFINE, "qform": AFFINE, "codes": (2, 1)},
        {"sform": turned(0.2), "qform": AFFINE},
        {"sform": AFFINE, "edit": one_millimeter},
        {"sform": AFFINE, "edit": negative},
    ],
)
def test_voxels_lie_where_the_header_says(forms: dict, tmp_path: Path) -> None:
    path = written(tmp_path / "ct.nii", **forms)
    ct = read_ct(path)
    values = np.asanyarray(nibabel.load(path).dataobj)
    expected = LPS @ forms.get("sform", AFFINE)
    for index in ((0, 0, 0), (4, 0, 0), (0, 5, 0), (0, 0, 6), (1, 2, 3)):
        np.testing.assert_allclose(ct.TransformIndexToPhysicalPoint(index), (expected @ [*index, 1])[:3], atol=1e-4)
        assert ct[index] == values[index] == index[0] * 42 + index[1] * 7 + index[2]
    np.testing.assert_allclose(ct.GetSpacing(), SPACING, rtol=1e-5)


def test_a_length_in_another_unit(tmp_path: Path) -> None:
    grid = nifti_grid(written(tmp_path / "ct.nii", AFFINE * 1000, edit=in_micrometers))
    np.testing.assert_allclose(grid.spacing, SPACING, rtol=1e-5)
    np.testing.assert_allclose(grid.origin, (31, -12.5, 140), rtol=1e-5)
    assert grid.size == SIZE


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("trailing", [(), (1,), (1, 1)])
def test_axes_of_one_time_point(tmp_path: Path, suffix: str, trailing: tuple[int, ...]) -> None:
    path = tmp_path / f"ct{suffix}"
    nibabel.Nifti1Image(np.zeros(SIZE + trailing, dtype=np.int16), AFFINE).to_filename(path)
    assert read_ct(path).GetSize() == SIZE
    assert Grid.of(read_ct(path)) == nifti_grid(path)


def sheared() -> np.ndarray:
    shear = AFFINE.copy()
    shear[:3, 2] += 0.1 * AFFINE[:3, 1]
    return shear


def flat() -> np.ndarray:
    affine = AFFINE.copy()
    affine[:3, 1] = 0
    return affine


def no_rotation(header: nibabel.Nifti1Header) -> None:
    header["quatern_b"] = header["quatern_c"] = 1


@pytest.mark.parametrize(
    ("forms", "message"),
    [
        ({}, "expected an sform or a qform .* got no sform and no qform; convert the CT from DICOM again"),
        ({"sform": AFFINE, "qform": turned(15)}, r"expected sform and qform to place .* alike, got [\d.]+ mm between"),
        ({"sform": AFFINE, "qform": LPS @ AFFINE}, r"expected sform and qform to place .* alike"),
        ({"qform": AFFINE, "edit": negative}, "got no sform and a qform that cannot be read .pixdims.*positive"),
        ({"sform": sheared()}, "expected axes at right angles, got a cosine of .* tilted.*dcm2niix"),
        ({"sform": flat()}, "got an sform with axes of 0.7 x 0 x 1.5 mm and no qform"),
        ({"qform": AFFINE, "edit": no_rotation}, "got no sform and a qform that cannot be read .w2 should be positive"),
    ],
)
def test_a_header_that_contradicts_itself(forms: dict, message: str, tmp_path: Path) -> None:
    path = written(tmp_path / "ct.nii", **forms)
    before = path.read_bytes()
    with pytest.raises(InputError, match=message) as caught:
        read_ct(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == before


def test_a_file_without_a_header(tmp_path: Path) -> None:
    (tmp_path / "ct.nii").write_bytes(b"no header at all" * 99)
    with pytest.raises(InputError, match="does not begin with a NIfTI-1 header"):
        read_ct(tmp_path / "ct.nii")
    nibabel.save(nibabel.Nifti2Image(np.zeros((3, 4, 5), np.int16), np.eye(4)), tmp_path / "newer.nii")
    with pytest.raises(InputError, match="expected a NIfTI-1 file, got NIfTI-2; save it as NIfTI-1"):
        read_ct(tmp_path / "newer.nii")
    (tmp_path / "short.nii").write_bytes(b"no")
    with pytest.raises(InputError, match="cannot be read as a volume"):
        read_ct(tmp_path / "short.nii")
