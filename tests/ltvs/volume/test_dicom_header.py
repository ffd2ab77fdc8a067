"""Numbers in DICOM headers as files really have them: read as meant, or one line; never a traceback."""

import errno
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileDataset
from pydicom.tag import Tag

from ltvs.runtime.errors import InputError
from ltvs.volume.dicom_header import damage_told, numbers, whole_number
from ltvs.volume.images import read_ct, same_grid
from support.enhanced_ct import write_frames
from support.ircadb_layout import write_series
from support.tiny_cases import OBLIQUE, array, tiny_case


def put(dataset: Dataset, name: str, text: str, kind: str = "DS") -> None:
    """Put an element as a file holds it: pydicom would refuse most of these texts."""
    content = text.encode() + b" " * (len(text) % 2)
    dataset[name] = RawDataElement(Tag(name), kind, len(content), content, 0, False, True)


def edited(name: str, text: str, only: int | None = None, kind: str = "DS"):
    def edit(file: FileDataset, k: int) -> None:
        if only in (None, k):
            put(file, name, text, kind)

    return edit


@pytest.mark.parametrize("only", [None, 0, 7, 20])
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("PixelSpacing", "1,5\\1,3"),
        ("PixelSpacing", " 1.5 \\ 1.3 "),
        ("PixelSpacing", "15e-1\\1.30000000000000000000000"),
        ("ImageOrientationPatient", "1,0\\0,0\\0\\0\\1\\0"),
        ("SliceThickness", "two"),
        ("SliceThickness", "-1"),
        ("SliceThickness", ""),
        ("RescaleSlope", "1,0"),
        ("RescaleSlope", ""),
        ("RescaleIntercept", "0,00"),
        ("WindowCenter", "forty"),
        ("KVP", "nan"),
        ("InstanceNumber", "one"),
    ],
)
def test_what_is_meant_or_does_not_matter_is_read(name: str, text: str, only: int | None, tmp_path: Path) -> None:
    write_series(tmp_path / "ct", tiny_case().ct, edit=edited(name, text, only))
    read = read_ct(tmp_path / "ct")
    assert same_grid(read, tiny_case().ct)
    np.testing.assert_array_equal(array(read), array(tiny_case().ct))


def test_positions_with_decimal_commas(tmp_path: Path) -> None:
    def commas(file: FileDataset, k: int) -> None:
        put(file, "ImagePositionPatient", "\\".join(str(x) for x in file.ImagePositionPatient).replace(".", ","))

    write_series(tmp_path / "ct", tiny_case().ct, edit=commas)
    assert same_grid(read_ct(tmp_path / "ct"), tiny_case().ct)


BAD_NUMBERS = ["x", "nan", "inf", "-inf", "1e30", "1e999", "1,234,5", "1.2.3", "0x10", "1_0", "--1", "1 5"]


@pytest.mark.parametrize("frames", [False, True])
@pytest.mark.parametrize(
    ("name", "text"),
    [
        *(("PixelSpacing", f"1.5\\{number}") for number in BAD_NUMBERS),
        *(("RescaleSlope", number) for number in BAD_NUMBERS),
        ("PixelSpacing", "1.5"),
        ("PixelSpacing", "1.5\\1.3\\1"),
        ("ImagePositionPatient", "-31\\12.5"),
        ("ImagePositionPatient", "-31\\12.5\\nan"),
        ("ImageOrientationPatient", "1\\0\\0\\0\\1"),
        ("ImageOrientationPatient", "1\\0\\0\\0\\1\\?"),
        ("RescaleSlope", "1\\2"),
        ("RescaleIntercept", "water"),
    ],
)
def test_an_element_that_holds_no_such_numbers(name: str, text: str, frames: bool, tmp_path: Path) -> None:
    if frames:
        file = write_frames(tmp_path / "ct", tiny_case().ct)
        groups = [*file.SharedFunctionalGroupsSequence, file.PerFrameFunctionalGroupsSequence[7]]
        for sequence in (sequence.value for group in groups for sequence in group if sequence.VR == "SQ"):
            if name in sequence[0]:
                put(sequence[0], name, text)
        file.save_as(tmp_path / "ct" / "ct.dcm")
    else:
        write_series(tmp_path / "ct", tiny_case().ct, edit=edited(name, text, 7))
    where = "ct.dcm" if frames else "image_7"
    with pytest.raises(InputError, match=rf"{where}: expected {name} of \d finite numbers, got '.*'; is it damaged"):
        read_ct(tmp_path / "ct")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("PixelSpacing", "0\\1.3", r"expected PixelSpacing above 0, got \(0, 1.3\) mm; export again"),
        ("PixelSpacing", "-1.5\\1.3", r"expected PixelSpacing above 0, got \(-1.5, 1.3\) mm"),
        ("PixelSpacing", "1e29\\1.3", "expected voxels of 0.01 to 100 mm at a finite place, got 1.3 x 1e.29 x 2 mm"),
        ("PixelSpacing", "1e-5\\1.3", "expected voxels of 0.01 to 100 mm at a finite place"),
        ("PixelSpacing", "", "expected PixelSpacing in every slice, got some without"),
        ("PixelSpacing", " ", "expected PixelSpacing in every slice, got some without"),
        (
            "ImageOrientationPatient",
            "0\\0\\0\\0\\1\\0",
            r"length 1 across each other, got \(0, 0, 0, 0,",
        ),
        (
            "ImageOrientationPatient",
            "2\\0\\0\\0\\1\\0",
            r"length 1 across each other, got \(2, 0, 0, 0,",
        ),
        (
            "ImageOrientationPatient",
            "1\\0\\0\\1\\0\\0",
            r"length 1 across each other, got \(1, 0, 0, 1,",
        ),
        ("ImageOrientationPatient", "1e29\\0\\0\\0\\1\\0", "two vectors of length 1 across each other"),
        ("ImageOrientationPatient", "1\\0\\0\\0.02\\0.9998\\0", "expected axes at right angles, got a cosine of 0.02"),
        ("RescaleSlope", "0", "expected a RescaleSlope other than 0; export the series again"),
        ("RescaleSlope", "1e29", "values .* are not HU"),
        ("RescaleIntercept", "1e29", "values .* are not HU"),
    ],
)
def test_numbers_that_no_ct_has(name: str, text: str, message: str, tmp_path: Path) -> None:
    write_series(tmp_path / "ct", tiny_case().ct, edit=edited(name, text))
    with pytest.raises(InputError, match=message) as caught:
        read_ct(tmp_path / "ct")
    assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("opposite", [False, True])
def test_slices_far_apart(opposite: bool, tmp_path: Path) -> None:
    def apart(file: FileDataset, k: int) -> None:
        file.ImagePositionPatient = [0, 0, "-1e29" if opposite and k % 2 else f"{1 + k / 100}e29"]

    write_series(tmp_path / "ct", tiny_case().ct, edit=apart)
    with pytest.raises(InputError, match=r"one slice at a position|voxels of 0.01 to 100 mm|within 100 m"):
        read_ct(tmp_path / "ct")


@pytest.mark.parametrize("text", ["0", "-2", "nan", "thick", "1e9"])
def test_the_thickness_of_a_single_slice(text: str, tmp_path: Path) -> None:
    write_series(tmp_path / "ct", tiny_case().ct[:, :, 10:11], edit=edited("SliceThickness", text))
    message = "expected SliceThickness (in a single slice, got|of 1 finite numbers)|expected voxels of 0.01 to 100 mm"
    with pytest.raises(InputError, match=message):
        read_ct(tmp_path / "ct")


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("place", ["1e7", "1e29"])
def test_positions_far_away(place: str, tmp_path: Path) -> None:
    def far(file: FileDataset, k: int) -> None:
        file.ImagePositionPatient = [place, *file.ImagePositionPatient[1:]]

    write_series(tmp_path / "ct", tiny_case().ct, edit=far)
    with pytest.raises(InputError, match="expected a place within 100 m of the scanner's origin"):
        read_ct(tmp_path / "ct")


def test_all_slices_at_one_position(tmp_path: Path) -> None:
    def here(file: FileDataset, k: int) -> None:
        file.ImagePositionPatient = [0, 0, 0]

    write_series(tmp_path / "ct", tiny_case().ct, edit=here)
    with pytest.raises(InputError, match="expected one slice at a position, got two or more at some"):
        read_ct(tmp_path / "ct")


def test_a_modality_lut(tmp_path: Path) -> None:
    def with_lut(file: FileDataset, k: int) -> None:
        file.ModalityLUTSequence = [Dataset()]

    write_series(tmp_path / "ct", tiny_case().ct, edit=with_lut)
    with pytest.raises(InputError, match="expected values in HU, got a ModalityLUTSequence; export the series in HU"):
        read_ct(tmp_path / "ct")


@pytest.mark.parametrize("digits", [3, 4, 6])
def test_an_orientation_in_few_digits(digits: int, tmp_path: Path) -> None:
    def rounded(file: FileDataset, k: int) -> None:
        file.ImageOrientationPatient = [round(float(x), digits) for x in file.ImageOrientationPatient]

    ct = tiny_case(direction=OBLIQUE[0]).ct
    write_series(tmp_path / "ct", ct, edit=rounded)
    direction = np.reshape(read_ct(tmp_path / "ct").GetDirection(), (3, 3))
    np.testing.assert_allclose(direction, OBLIQUE[0], atol=2 * 10.0**-digits)
    np.testing.assert_allclose(direction.T @ direction, np.eye(3), atol=1e-12)


@pytest.mark.parametrize("kind", ["DS", "UN", "LO"])
def test_numbers_of_any_text(kind: str) -> None:
    header = Dataset()
    put(header, "PixelSpacing", "0,75\\.5", kind)
    assert numbers(Path("x"), header, "PixelSpacing", 2) == (0.75, 0.5)
    assert numbers(Path("x"), header, "SliceThickness", 1) is None


def test_whole_numbers() -> None:
    header = Dataset()
    header.Rows = 5
    put(header, "NumberOfFrames", "2.5", "IS")
    assert whole_number(Path("x"), header, "Rows") == 5
    assert whole_number(Path("x"), header, "SamplesPerPixel", 1) == 1
    with pytest.raises(InputError, match=r"x: expected NumberOfFrames of whole numbers, got '2.5'"):
        whole_number(Path("x"), header, "NumberOfFrames")
    with pytest.raises(InputError, match="x: expected Columns of 1 finite numbers, got ''"):
        whole_number(Path("x"), header, "Columns")


def test_whatever_is_raised_at_a_damaged_file_is_told_in_one_line() -> None:
    message = r"x: is DICOM but cannot be read, is it damaged\? .*\(KeyError: 'a b'\)"
    with pytest.raises(InputError, match=message), damage_told(Path("x")):
        raise KeyError("a b")
    for own in (InputError("mine"), MemoryError("mine")):
        with pytest.raises(type(own), match="mine"), damage_told(Path("x")):
            raise own


def test_files_that_are_no_dicom_lie_in_the_folder(tmp_path: Path) -> None:
    write_series(tmp_path / "ct", tiny_case().ct)
    (tmp_path / "ct" / "DICOMDIR").write_bytes(bytes(128) + b"DICM")
    (tmp_path / "ct" / ".DS_Store").write_bytes(b"\0\0\0\1Bud1" + bytes(range(256)) * 9)
    (tmp_path / "ct" / "empty").touch()
    (tmp_path / "ct" / "folder").mkdir()
    assert same_grid(read_ct(tmp_path / "ct"), tiny_case().ct)
    (tmp_path / "ct" / "cut").write_bytes(bytes(128) + b"DICM")
    with pytest.raises(InputError, match=r"cut: is DICOM but cannot be read, is it (cut short|damaged)"):
        read_ct(tmp_path / "ct")


def test_a_slice_without_a_series_is_of_another(tmp_path: Path) -> None:
    files = write_series(tmp_path / "ct", tiny_case().ct)
    lone = pydicom.dcmread(files[7].filename)
    del lone.SeriesInstanceUID
    lone.save_as(files[7].filename)
    with pytest.raises(InputError, match="holds 2 DICOM series; give a folder with one"):
        read_ct(tmp_path / "ct")


def test_a_file_that_is_not_for_the_user_to_read() -> None:
    with pytest.raises(InputError, match=r"^x: cannot be read \(Permission denied\)$"), damage_told(Path("x")):
        raise PermissionError(errno.EACCES, "Permission denied", "x")
