"""DICOM series: one whole, evenly spaced series, or one clear line."""

from pathlib import Path

import pydicom
import pytest
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless

from ircadb_layout import write_series
from ltvs.errors import InputError
from ltvs.images import read_ct
from tiny_cases import tiny_case


def test_two_series_in_one_folder(tmp_path: Path) -> None:
    for name in ("portal", "arterial"):
        write_series(tmp_path / name, tiny_case().ct)
        for path in (tmp_path / name).iterdir():
            path.rename(tmp_path / f"{name}-{path.name}")
        (tmp_path / name).rmdir()
    with pytest.raises(InputError, match="holds 2 DICOM series; give a folder with one"):
        read_ct(tmp_path)


def test_a_series_with_a_slice_cut_short(tmp_path: Path) -> None:
    write_series(tmp_path / "ct", tiny_case().ct)
    path = tmp_path / "ct" / "image_7"
    path.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(InputError, match=r"image_7: is DICOM but cannot be read, is it cut short\?"):
        read_ct(tmp_path / "ct")


def test_a_series_without_a_slice(tmp_path: Path) -> None:
    write_series(tmp_path / "ct", tiny_case().ct)
    (tmp_path / "ct" / "notes.txt").write_text("not DICOM")
    assert read_ct(tmp_path / "ct").GetSize() == tiny_case().ct.GetSize()
    (tmp_path / "ct" / "image_7").unlink()
    with pytest.raises(InputError, match="evenly spaced slices, 2 mm; got 4 mm between slice 7 and 8"):
        read_ct(tmp_path / "ct")


def test_a_series_in_a_compression_that_cannot_be_read(tmp_path: Path) -> None:
    write_series(tmp_path / "ct", tiny_case().ct)
    for path in (tmp_path / "ct").iterdir():
        slice_ = pydicom.dcmread(path)
        slice_.file_meta.TransferSyntaxUID = JPEG2000Lossless
        slice_.PixelData = encapsulate([b"not a picture "])
        slice_["PixelData"].is_undefined_length = True
        slice_.save_as(path)
    with pytest.raises(InputError, match="the DICOM series cannot be read"):
        read_ct(tmp_path / "ct")


def test_a_series_in_colour(tmp_path: Path) -> None:
    write_series(tmp_path / "ct", tiny_case().ct)
    for path in (tmp_path / "ct").iterdir():
        slice_ = pydicom.dcmread(path)
        slice_.SamplesPerPixel, slice_.PhotometricInterpretation, slice_.PlanarConfiguration = 3, "RGB", 0
        slice_.BitsAllocated, slice_.BitsStored, slice_.HighBit, slice_.PixelRepresentation = 8, 8, 7, 0
        slice_.PixelData = bytes(3 * slice_.Rows * slice_.Columns)
        slice_["PixelData"].VR = "OB"
        slice_.save_as(path)
    with pytest.raises(InputError, match="expected a 3D series with one value per voxel"):
        read_ct(tmp_path / "ct")
