"""Pixels of DICOM files: as stored, whole, and each slice rescaled by its own header; or one clear line."""

from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.dataelem import RawDataElement
from pydicom.dataset import FileDataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.tag import Tag
from pydicom.uid import ExplicitVRBigEndian, JPEGLSLossless

from ltvs.runtime.errors import InputError
from ltvs.volume.dicom import read_series
from ltvs.volume.grids import Grid
from ltvs.volume.images import read_ct, read_mask
from support.compressed_dicom import COMPRESSIONS, compress
from support.enhanced_ct import dataset, write_frames
from support.ircadb_layout import write_series
from support.tiny_cases import array, image, tiny_case


def slices(folder: Path) -> list[Path]:
    return sorted(folder.iterdir(), key=lambda path: int(path.name.removeprefix("image_")))


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_compressed_slices(compression: str, tmp_path: Path) -> None:
    write_series(tmp_path / "ct", tiny_case().ct)
    for file in slices(tmp_path / "ct"):
        compress(file, compression)
    np.testing.assert_array_equal(array(read_ct(tmp_path / "ct")), array(tiny_case().ct))


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("share", [0.3, 0.7, 0.95])
def test_a_compressed_slice_cut_short(compression: str, share: float, tmp_path: Path) -> None:
    write_series(tmp_path / "ct", tiny_case().ct)
    file = tmp_path / "ct" / "image_7"
    compress(file, compression)
    file.write_bytes(file.read_bytes()[: int(share * file.stat().st_size)])
    with pytest.raises(InputError, match=r"image_7: is DICOM but cannot be read, is it (cut short|damaged)\?"):
        read_ct(tmp_path / "ct")


@pytest.mark.parametrize("compression", ["JPEG", "JPEG2000", "JPEG-LS", "RLE"])
@pytest.mark.parametrize("rest", [b"", b"\0", b"\1"])
def test_a_compressed_frame_cut_in_the_middle(compression: str, rest: bytes, tmp_path: Path) -> None:
    """The file is whole, its pixels are not, or zeros stand in the place of the second half: GDCM read such JPEG."""
    write_series(tmp_path / "ct", tiny_case().ct)
    file = tmp_path / "ct" / "image_7"
    compress(file, compression)
    header = pydicom.dcmread(file)
    frame = next(iter(generate_frames(header.PixelData, number_of_frames=1)))
    header.PixelData = encapsulate([frame[: len(frame) // 2] + rest * (len(frame) - len(frame) // 2)])
    header["PixelData"].is_undefined_length = True
    header.save_as(file)
    with pytest.raises(InputError, match=r"series cannot be read, .*image_7 (is|are) (cut short or )?damaged"):
        read_ct(tmp_path / "ct")


def shorter(file: FileDataset) -> None:
    file.PixelData = file.PixelData[:-100]


def longer(file: FileDataset) -> None:
    file.PixelData = file.PixelData + bytes(100)


def more_rows(file: FileDataset) -> None:
    file.Rows += 1


def endless(file: FileDataset) -> None:
    file.Rows = file.Columns = 65535


def without_pixels(file: FileDataset) -> None:
    del file.PixelData


def without_rows(file: FileDataset) -> None:
    del file.Rows


def without_bits(file: FileDataset) -> None:
    del file.BitsStored


def without_columns(file: FileDataset) -> None:
    file.Columns = None


def of_one_bit(file: FileDataset) -> None:
    file.BitsAllocated = file.BitsStored = 1


def more_frames(file: FileDataset) -> None:
    file.NumberOfFrames = 2


def frames_of_text(file: FileDataset) -> None:
    file["NumberOfFrames"] = RawDataElement(Tag("NumberOfFrames"), "IS", 4, b"ten ", 0, False, True)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (shorter, r"is DICOM but cannot be read, is it cut short\? Expected 1400 bytes of pixels .* got 1300"),
        (longer, "Expected 1400 bytes of pixels as its header says, got 1500"),
        (more_rows, "Expected 1456 bytes of pixels as its header says, got 1400"),
        (endless, "expected a CT, got 1 x 65535 x 65535 frames, rows and columns in the header; is it damaged"),
        (without_pixels, "is DICOM but cannot be read, is it cut short"),
        (without_rows, "is DICOM but cannot be read, is it cut short"),
        (without_columns, "expected Columns of 1 finite numbers, got ''"),
        (without_bits, "expected BitsStored of 1 finite numbers, got ''"),
        (of_one_bit, "expected pixels of 8, 16 or 32 bits, got BitsAllocated 1, BitsStored 1"),
        (more_frames, "expected position, orientation and spacing of every frame, got 0 for 2 frames"),
        (frames_of_text, "expected NumberOfFrames of 1 finite numbers, got 'ten'"),
    ],
)
def test_pixels_that_are_not_those_of_the_header(edit, message: str, tmp_path: Path) -> None:
    def one(file: FileDataset, k: int) -> None:
        if k == 7:
            edit(file)

    write_series(tmp_path / "ct", tiny_case().ct, edit=one)
    with pytest.raises(InputError, match=message) as caught:
        read_ct(tmp_path / "ct")
    assert str(caught.value).startswith(str(tmp_path / "ct"))


def test_slices_of_several_sizes(tmp_path: Path) -> None:
    def wider(file: FileDataset, k: int) -> None:
        if k == 7:
            file.Columns, file.PixelData = 14, file.PixelData[:700]

    write_series(tmp_path / "ct", tiny_case().ct, edit=wider)
    with pytest.raises(InputError, match="expected slices of one size, got several; give a folder with one series"):
        read_ct(tmp_path / "ct")


@pytest.mark.parametrize("compression", COMPRESSIONS[:4])
@pytest.mark.parametrize("more", [-1, 1])
def test_compressed_slices_of_another_size_than_stated(compression: str, more: int, tmp_path: Path) -> None:
    write_series(tmp_path / "ct", tiny_case().ct)
    for file in slices(tmp_path / "ct"):
        compress(file, compression)
        header = pydicom.dcmread(file)
        header.Rows += more
        header.save_as(file)
    with pytest.raises(InputError, match=r"image_\d+ is damaged|rows and columns as its header says, got \(25, 28\)"):
        read_ct(tmp_path / "ct")


def test_compressed_frames_fewer_than_stated(tmp_path: Path) -> None:
    file = write_frames(tmp_path / "ct", tiny_case().ct)
    file.compress(JPEGLSLossless)
    file.save_as(tmp_path / "ct" / "ct.dcm")
    np.testing.assert_array_equal(array(read_ct(tmp_path / "ct")), array(tiny_case().ct))
    file.PixelData = encapsulate(list(generate_frames(file.PixelData, number_of_frames=21))[:-1])
    file["PixelData"].is_undefined_length = True
    file.save_as(tmp_path / "ct" / "ct.dcm")
    with pytest.raises(InputError, match=r"ct.dcm: expected 21 compressed frames, got 20"):
        read_ct(tmp_path / "ct")


def test_bits_above_those_stored_do_not_count(tmp_path: Path) -> None:
    """They may hold an overlay, or lack the sign."""
    hu = array(tiny_case().ct)

    def twelve(file: FileDataset, k: int) -> None:
        stored = hu[k] + (1024 if k % 2 else 0)
        dirty = (stored & 0xFFF) | 0x5000
        file.BitsStored, file.HighBit, file.PixelRepresentation = 12, 11, 1 - k % 2
        file.RescaleIntercept = -1024 if k % 2 else 0
        file.PixelData = dirty.astype(np.uint16).tobytes()

    write_series(tmp_path / "ct", tiny_case().ct, edit=twelve)
    np.testing.assert_array_equal(array(read_ct(tmp_path / "ct")), hu)


def test_big_endian_slices(tmp_path: Path) -> None:
    write_series(tmp_path / "ct", tiny_case().ct)
    for file in slices(tmp_path / "ct"):
        header = pydicom.dcmread(file)
        header.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
        header.PixelData = np.frombuffer(header.PixelData, "<i2").astype(">i2").tobytes()
        pydicom.dcmwrite(file, header, little_endian=False, implicit_vr=False)
    np.testing.assert_array_equal(array(read_ct(tmp_path / "ct")), array(tiny_case().ct))


def test_an_empty_first_slice_decides_nothing(tmp_path: Path) -> None:
    """ITK takes the pixel type of the first slice for all: a mask with another slope in the others reads as empty."""
    mask = tiny_case().liver

    def scaled(file: FileDataset, k: int) -> None:
        if array(mask)[k].any():
            file.RescaleSlope = "0.0039"

    write_series(tmp_path / "mask", mask * 255, edit=scaled)
    assert not array(mask)[0].any()
    np.testing.assert_array_equal(array(read_mask(tmp_path / "mask")), array(mask))


@pytest.mark.parametrize("frames", [False, True])
def test_each_slice_has_its_own_rescaling(frames: bool, tmp_path: Path) -> None:
    """PET and some reconstructions use the whole range of the stored values in every slice."""
    hu = array(tiny_case().ct)
    slopes = np.linspace(0.25, 2.5, len(hu)).round(2)
    intercepts = -1000 - np.arange(len(hu))
    stored = np.round((hu - intercepts[:, None, None]) / slopes[:, None, None]).astype(np.int16)
    expected = np.rint(stored * slopes[:, None, None] + intercepts[:, None, None])
    volume = image(stored, Grid.of(tiny_case().ct))
    if frames:
        file = write_frames(tmp_path / "ct", volume)
        file.PixelData = stored.tobytes()
        del file.SharedFunctionalGroupsSequence[0].PixelValueTransformationSequence
        for k, frame in enumerate(file.PerFrameFunctionalGroupsSequence):
            values = dataset(RescaleIntercept=int(intercepts[k]), RescaleSlope=float(slopes[k]), RescaleType="HU")
            frame.PixelValueTransformationSequence = [values]
        file.save_as(tmp_path / "ct" / "ct.dcm")
    else:

        def rescaled(file: FileDataset, k: int) -> None:
            file.RescaleSlope, file.RescaleIntercept = float(slopes[k]), int(intercepts[k])

        write_series(tmp_path / "ct", volume, edit=rescaled)
    np.testing.assert_array_equal(array(read_ct(tmp_path / "ct")), expected)


def test_frames_may_be_rescaled_outside_their_groups(tmp_path: Path) -> None:
    file = write_frames(tmp_path / "ct", tiny_case().ct)
    del file.SharedFunctionalGroupsSequence[0].PixelValueTransformationSequence
    file.RescaleIntercept, file.RescaleSlope = -1024, 1
    file.save_as(tmp_path / "ct" / "ct.dcm")
    np.testing.assert_array_equal(array(read_ct(tmp_path / "ct")), array(tiny_case().ct))


def test_slices_of_several_pixel_types(tmp_path: Path) -> None:
    """A first slice of 8 bits must not cut the others to its range."""
    hu = array(tiny_case().ct)

    def narrow(file: FileDataset, k: int) -> None:
        if k == 0:
            file.BitsAllocated, file.BitsStored, file.HighBit, file.PixelRepresentation = 8, 8, 7, 0
            file.RescaleIntercept = -1000
            file.PixelData = bytes(range(200)) * 3 + bytes(100)
            file["PixelData"].VR = "OB"

    write_series(tmp_path / "ct", tiny_case().ct, edit=narrow)
    read = array(read_ct(tmp_path / "ct"))
    np.testing.assert_array_equal(read[1:], hu[1:])
    assert (read[0].min(), read[0].max()) == (-1000, -801)


def test_values_that_do_not_fit(tmp_path: Path) -> None:
    def steep(file: FileDataset, k: int) -> None:
        if k == 7:
            file.RescaleSlope = 1000

    write_series(tmp_path / "ct", tiny_case().ct, edit=steep)
    assert read_series(tmp_path / "ct").GetPixelID() == sitk.sitkFloat64
    with pytest.raises(InputError, match=r"values -1e\+06 to 100000 are not HU"):
        read_ct(tmp_path / "ct")


def test_an_unknown_compression(tmp_path: Path) -> None:
    def private(file: FileDataset, k: int) -> None:
        file.file_meta.TransferSyntaxUID = "1.2.3.4.5"

    write_series(tmp_path / "ct", tiny_case().ct, edit=private)
    with pytest.raises(InputError, match="image_0: is DICOM but cannot be read, is it damaged"):
        read_ct(tmp_path / "ct")
