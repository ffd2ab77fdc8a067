"""MetaImage: read as ITK reads a good file, and every field that makes no sense refused."""

import re
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from ltvs.runtime.errors import InputError
from ltvs.volume.images import read_ct, same_grid
from support.noise_volumes import noise, written
from support.tiny_cases import OBLIQUE


def test_the_other_byte_order_and_older_names(tmp_path: Path) -> None:
    path = tmp_path / "ct.mha"
    header, data = written(path, False).split(b"LOCAL\n")
    header = header.replace(b"MSB = False", b"MSB = True").replace(b"Offset", b"Position").replace(b"\n", b"\r\n")
    header = header.replace(b"TransformMatrix", b"Rotation").replace(b"ElementSpacing", b"ElementSize")
    path.write_bytes(header + b"Local\r\n" + np.frombuffer(data, "<i2").astype(">i2").tobytes())
    np.testing.assert_array_equal(sitk.GetArrayFromImage(read_ct(path)), sitk.GetArrayFromImage(noise()))
    assert same_grid(read_ct(path), noise())


def test_axes_a_rounding_off_right_angles(tmp_path: Path) -> None:
    """ITK refuses other files for a rounding in their axes."""
    path, volume = tmp_path / "ct.mha", noise()
    volume.SetDirection(OBLIQUE[0].ravel().tolist())
    content = written(path, False, volume)
    rounded = " ".join(f"{x:.4f}" for x in OBLIQUE[0].T.ravel()).encode()
    path.write_bytes(re.sub(rb"TransformMatrix = [^\n]*", b"TransformMatrix = " + rounded, content))
    direction = np.reshape(read_ct(path).GetDirection(), (3, 3))
    np.testing.assert_allclose(direction, OBLIQUE[0], atol=1e-4)
    np.testing.assert_allclose(direction.T @ direction, np.eye(3), atol=1e-12)


WITHOUT = object()


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("CompressedDataSize", WITHOUT, "expected CompressedDataSize in a compressed file, got none; export it again"),
        ("CompressedDataSize", "99", r"is cut short or damaged, \d+ of 99 compressed bytes are there; copy it again"),
        ("CompressedDataSize", "9.5", "expected CompressedDataSize of whole numbers, got '9.5'"),
        ("ElementDataFile", "other.raw", "voxels in the file itself, got ElementDataFile = other.raw; save it as one"),
        ("ElementDataFile", "LIST", "voxels in the file itself, got ElementDataFile = LIST"),
        ("BinaryData", "False", "BinaryData = True, got False; save it again"),
        ("BinaryData", WITHOUT, "BinaryData = True, got False; save it again"),
        ("HeaderSize", "-1", "HeaderSize = 0, got -1; save it again"),
        ("ElementNumberOfChannels", "3", "one value per voxel, ElementNumberOfChannels = 1, got 3; color images"),
        (
            "ElementToIntensityFunctionSlope",
            "2",
            "values as they are, got ElementToIntensityFunctionSlope = 2",
        ),
        ("DistanceUnits", "cm", "expected DistanceUnits = mm, got cm; convert it to mm"),
        ("NDims", "4", "expected a 3D volume, got 4D; give one volume of it"),
        ("NDims", "2", "expected a 3D volume, got 2D; give all slices in one file"),
        ("NDims", WITHOUT, "expected NDims of 1 finite numbers, got ''"),
        ("DimSize", "7 6", "expected DimSize of 3 finite numbers, got '7 6'"),
        ("DimSize", "7 6 -5", "expected a header of 1 to 4294967296 voxels, got 7 x 6 x -5"),
        ("ElementSpacing", "0.7 0.8 nan", "expected ElementSpacing of 3 finite numbers, got '0.7 0.8 nan'"),
        ("ElementSpacing", "0.7 0 1.5", "expected voxels of 0.01 to 100 mm at a finite place, got 0.7 x 0 x 1.5 mm"),
        ("ElementSpacing", "0.7 0.8 1e9", "expected voxels of 0.01 to 100 mm"),
        ("ElementSpacing", WITHOUT, "expected ElementSpacing of 3 finite numbers, got ''"),
        ("Offset", "0 0 1e400", "expected Offset of 3 finite numbers"),
        ("Offset", "0 0 1e29", "expected a place within 100 m of the scanner's origin"),
        ("TransformMatrix", "1 0 0 0 1 0.2 0 0 1", "expected axes at right angles"),
        ("TransformMatrix", "1 0 0 0 1 0 0 0 0", "expected voxels of 0.01 to 100 mm"),
        ("ElementType", "MET_LONG", "expected ElementType MET_CHAR, .*; got MET_LONG; convert it again"),
        ("ElementType", WITHOUT, "expected ElementType .*; got none"),
        ("Modality", "MET_MOD_MR", "expected a series of Modality CT, got MR; give the CT series"),
        ("0008|0060", "PT", "expected a series of Modality CT, got PT"),
    ],
)
def test_a_field_that_makes_no_sense(field: str, value: object, message: str, tmp_path: Path) -> None:
    path = tmp_path / "ct.mha"
    content = re.sub(rb"\n%b = [^\n]*" % re.escape(field.encode()), b"", written(path, True))
    if value is not WITHOUT and field != "ElementDataFile":
        content = content.replace(b"\nElementDataFile", f"\n{field} = {value}\nElementDataFile".encode())
    if field == "ElementDataFile":
        content = written(path, True).replace(b"LOCAL", str(value).encode())
        (tmp_path / "other.raw").write_bytes(bytes(420))
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        read_ct(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_decimal_commas_are_read_as_meant(tmp_path: Path) -> None:
    path = tmp_path / "ct.mha"
    content = written(path, False)
    path.write_bytes(re.sub(rb"ElementSpacing = [^\n]*", b"ElementSpacing = 0,7 0,8 1,5", content))
    assert same_grid(read_ct(path), noise())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "its header has no ElementDataFile"),
        (b"ObjectType = Image\nNDims = 3\n" * 2, "expected ObjectType once, got it twice"),
        (b"\0" * 99999, "its header has no ElementDataFile"),
    ],
)
def test_a_file_that_is_none(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "ct.mha").write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_ct(tmp_path / "ct.mha")


def test_any_modality_is_taken_if_forced_to(tmp_path: Path) -> None:
    path = tmp_path / "ct.mha"
    path.write_bytes(written(path, False).replace(b"\nElementDataFile", b"\nModality = MET_MOD_MR\nElementDataFile"))
    assert same_grid(read_ct(path, force=True), noise())
    path.write_bytes(path.read_bytes().replace(b"MET_MOD_MR", b"MET_MOD_CT"))
    assert same_grid(read_ct(path), noise())
