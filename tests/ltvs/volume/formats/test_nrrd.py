"""NRRD: read as ITK reads a good file, and every field that makes no sense refused."""

import bz2
import re
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from ltvs.runtime.errors import InputError
from ltvs.volume.images import read_ct, same_grid
from support.noise_volumes import noise, written
from support.tiny_cases import OBLIQUE


@pytest.mark.parametrize("space", ["right-anterior-superior", "RAS", "left-anterior-superior", "LAS", "LPS"])
def test_the_spaces_are_those_of_itk(space: str, tmp_path: Path) -> None:
    path = tmp_path / "ct.nrrd"
    path.write_bytes(written(path, False).replace(b"left-posterior-superior", space.encode()))
    assert same_grid(read_ct(path), sitk.ReadImage(str(path)))


def test_the_other_byte_order_and_bzip2_in_capitals(tmp_path: Path) -> None:
    path = tmp_path / "ct.nrrd"
    header, data = written(path, False).split(b"\n\n", 1)
    swapped = np.frombuffer(data, "<i2").astype(">i2").tobytes()
    header = header.replace(b"little", b"big").replace(b"raw", b"BZIP2")
    path.write_bytes(header.replace(b"\n", b"\r\n") + b"\r\n\r\n" + bz2.compress(swapped))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(read_ct(path)), sitk.GetArrayFromImage(noise()))
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(InputError, match="is cut short or damaged"):
        read_ct(path)


def test_axes_a_rounding_off_right_angles(tmp_path: Path) -> None:
    path = tmp_path / "ct.nrrd"
    content = written(path, False)
    rounded = " ".join(f"({x:.4f},{y:.4f},{z:.4f})" for x, y, z in OBLIQUE[0].T * [[0.7], [0.8], [1.5]])
    path.write_bytes(re.sub(rb"space directions: [^\n]*", b"space directions: " + rounded.encode(), content))
    direction = np.reshape(read_ct(path).GetDirection(), (3, 3))
    np.testing.assert_allclose(direction, OBLIQUE[0], atol=2e-4)
    np.testing.assert_allclose(direction.T @ direction, np.eye(3), atol=1e-12)


WITHOUT = object()


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("data file", "other.raw", "voxels in the file itself, got data file: other.raw; save it as one file"),
        ("datafile", "LIST", "voxels in the file itself, got datafile: LIST"),
        ("byte skip", "-1", "expected no byte skip, got -1; save it again"),
        ("line skip", "2", "expected no line skip, got 2; save it again"),
        ("encoding", "ascii", "expected encoding raw, gzip or bzip2, got ascii; save it again as one of these"),
        ("encoding", "hex", "expected encoding raw, gzip or bzip2, got hex"),
        ("encoding", WITHOUT, "expected encoding raw, gzip or bzip2, got none"),
        ("dimension", "4", "expected a 3D volume, got 4D; give one volume of it"),
        ("dimension", "2", "expected a 3D volume, got 2D; give all slices in one file"),
        ("dimension", "three", "expected dimension of 1 finite numbers, got 'three'"),
        ("kinds", "vector domain domain", "expected one value per voxel, got kinds vector domain domain; color images"),
        ("sizes", "7 6", "expected sizes of 3 finite numbers, got '7 6'"),
        ("sizes", "7 6 0", "expected a header of 1 to 4294967296 voxels, got 7 x 6 x 0"),
        ("space", WITHOUT, "expected a space of left-posterior-superior.*got none, so the orientation is unknown"),
        ("space", "scanner-xyz", "expected a space of .*got scanner-xyz, so the orientation is unknown"),
        ("space units", '"mm" "mm" "cm"', 'expected space units of mm, got "mm" "mm" "cm"; convert it to mm'),
        ("space directions", "(1,0,0) (0,1,0)", "expected space directions of 3 vectors, got"),
        ("space directions", WITHOUT, "expected space directions of 3 vectors, got 'none'"),
        ("space directions", "(1,0,0) (0,1,0) (0,0)", "expected space directions of 3 finite numbers, got '0 0'"),
        (
            "space directions",
            "(1,0,0) (0,nan,0) (0,0,1)",
            "space directions of 3 finite numbers, got '0 nan 0'",
        ),
        ("space directions", "(1,0,0) (0,0,0) (0,0,1)", "expected voxels of 0.01 to 100 mm .*got 1 x 0 x 1 mm"),
        ("space directions", "(1,0,0) (0,1e29,0) (0,0,1)", "expected voxels of 0.01 to 100 mm"),
        ("space directions", "(1,0,0) (0,1,0.2) (0,0,1)", "expected axes at right angles"),
        ("space origin", "(0,0,1e29)", "expected a place within 100 m of the scanner's origin"),
        ("type", "block", "expected a type of integers or floats, got block; convert it again"),
        ("endian", WITHOUT, "expected endian little or big, got none"),
    ],
)
def test_a_field_that_makes_no_sense(field: str, value: object, message: str, tmp_path: Path) -> None:
    path = tmp_path / "ct.nrrd"
    header, data = written(path, False).split(b"\n\n", 1)
    header = re.sub(rb"\n%b: [^\n]*" % field.encode(), b"", header)
    if value is not WITHOUT:
        header += f"\n{field}: {value}".encode()
    (tmp_path / "other.raw").write_bytes(bytes(420))
    path.write_bytes(header + b"\n\n" + data)
    with pytest.raises(InputError, match=message) as caught:
        read_ct(path)
    assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it does not begin with NRRD000N"),
        (b"NRRD0004\ntype: short\n", "its header does not end"),
        (b"NRRD0004\ntype\n\n", "its header does not end"),
        (b"NRRD0004\ntype: short\ntype: int\n\n", "expected type once, got it twice"),
    ],
)
def test_a_file_that_is_none(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "ct.nrrd").write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_ct(tmp_path / "ct.nrrd")


@pytest.mark.parametrize("key", ["modality", "Modality", "0008|0060"])
def test_a_key_that_names_another_modality(key: str, tmp_path: Path) -> None:
    path = tmp_path / "ct.nrrd"
    path.write_bytes(written(path, False).replace(b"\n\n", f"\nspacings:=a key\n{key}:=MR\n\n".encode(), 1))
    with pytest.raises(InputError, match="expected a series of Modality CT, got MR; give the CT series"):
        read_ct(path)
    assert same_grid(read_ct(path, force=True), noise())
