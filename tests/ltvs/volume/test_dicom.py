"""DICOM series: one whole, evenly spaced series, or one clear line."""

from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.dataset import FileDataset
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless

from ltvs.runtime.errors import InputError
from ltvs.volume.images import read_ct, read_mask, same_grid
from support.enhanced_ct import write_frames
from support.ircadb_layout import decimals, write_series
from support.tiny_cases import OBLIQUE, SIGNED_PERMUTATIONS, tiny_case

RIGHT_HANDED = [direction for direction in [*SIGNED_PERMUTATIONS[:24], *OBLIQUE] if np.linalg.det(direction) > 0]


@pytest.mark.parametrize("preamble", [True, False])
def test_two_series_in_one_folder(tmp_path: Path, preamble: bool) -> None:
    write_series(tmp_path, tiny_case().ct)
    for file in write_series(tmp_path, tiny_case().ct, file_name="other_{}"):
        if not preamble:  # older DICOM does not begin by saying what it is
            content = Path(file.filename).read_bytes()
            Path(file.filename).write_bytes(content[132:])
    with pytest.raises(InputError, match="holds 2 DICOM series; give a folder with one"):
        read_ct(tmp_path)


def test_a_series_with_a_slice_cut_short(tmp_path: Path) -> None:
    write_series(tmp_path / "ct", tiny_case().ct)
    path = tmp_path / "ct" / "image_7"
    path.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(InputError, match=r"image_7: is DICOM but cannot be read, is it cut short\?"):
        read_ct(tmp_path / "ct")


@pytest.mark.parametrize("modality", ["SR", "RTSTRUCT"])
def test_a_report_among_the_slices(tmp_path: Path, modality: str) -> None:
    write_series(tmp_path, tiny_case().ct)
    report = pydicom.dcmread(tmp_path / "image_7")
    for name in ("PixelData", "Rows", "Columns"):
        delattr(report, name)
    report.Modality = modality
    report.save_as(tmp_path / "report")
    with pytest.raises(InputError, match=f"report: expected a slice, got .* of Modality {modality}; move it elsewhere"):
        read_ct(tmp_path)


def test_a_series_without_a_slice(tmp_path: Path) -> None:
    write_series(tmp_path / "ct", tiny_case().ct)
    (tmp_path / "ct" / "notes.txt").write_text("not DICOM")
    assert read_ct(tmp_path / "ct").GetSize() == tiny_case().ct.GetSize()
    (tmp_path / "ct" / "image_7").unlink()
    with pytest.raises(InputError, match="evenly spaced slices, 2 mm; got 4 mm between slice 7 and 8"):
        read_ct(tmp_path / "ct")


@pytest.mark.parametrize("which", [0, 20])
def test_a_series_of_another_modality(tmp_path: Path, which: int) -> None:
    def mr(file: FileDataset, k: int) -> None:
        if k == which:
            file.Modality = "MR"

    write_series(tmp_path / "ct", tiny_case().ct, edit=mr)
    with pytest.raises(InputError, match=rf"expected a series of Modality CT, got MR in image_{which}; give the CT"):
        read_ct(tmp_path / "ct")
    assert same_grid(read_ct(tmp_path / "ct", force=True), tiny_case().ct)
    write_series(tmp_path / "mask", tiny_case().liver, Modality="SEG")
    assert same_grid(read_mask(tmp_path / "mask"), tiny_case().ct)


@pytest.mark.parametrize("modality", ["", None])
def test_a_modality_that_says_nothing_else(tmp_path: Path, modality: str | None) -> None:
    def edit(file: FileDataset, k: int) -> None:
        file.Modality = modality or ""
        if modality is None:
            del file.Modality

    write_series(tmp_path / "ct", tiny_case().ct, edit=edit)
    assert same_grid(read_ct(tmp_path / "ct"), tiny_case().ct)


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


def test_a_series_in_color(tmp_path: Path) -> None:
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


def move(file: FileDataset, by: tuple[float, float, float]) -> None:
    file.ImagePositionPatient = decimals(np.add([float(mm) for mm in file.ImagePositionPatient], by))


def tilted(file: FileDataset, k: int) -> None:
    move(file, (0, 0.2 * k, 0))


def one_aside(file: FileDataset, k: int) -> None:
    move(file, (0.5 * (k == 9), 0, 0))


def denser_above(file: FileDataset, k: int) -> None:
    move(file, (0, 0, -0.15 * max(k - 10, 0)))


def twice(file: FileDataset, k: int) -> None:
    move(file, (0, 0, -2 * (k == 9)))


def with_a_localizer(file: FileDataset, k: int) -> None:
    if k == 20:
        file.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]


def zoomed_above(file: FileDataset, k: int) -> None:
    if k > 12:
        file.PixelSpacing = [0.7, 0.7]


def without(name: str):
    def edit(file: FileDataset, k: int) -> None:
        if k == 5:
            delattr(file, name)

    return edit


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (tilted, r"straight above each other, got one 4 mm to the side; was the gantry tilted\? .*dcm2niix"),
        (one_aside, "straight above each other, got one 0.5 mm to the side"),
        (denser_above, "expected evenly spaced slices, 1.925 mm; got .* is a slice missing"),
        (twice, "expected one slice at a position.*several acquisitions in the series"),
        (with_a_localizer, "slices of one orientation, got another .* localizer"),
        (zoomed_above, "slices of one PixelSpacing, got another from slice 14 on"),
        (without("ImagePositionPatient"), "expected ImagePositionPatient in every slice, got some without"),
        (without("ImageOrientationPatient"), "expected ImageOrientationPatient in every slice, got some without"),
        (without("PixelSpacing"), "expected PixelSpacing in every slice, got some without"),
    ],
)
def test_slices_that_are_no_regular_stack(edit, message: str, tmp_path: Path) -> None:
    write_series(tmp_path / "ct", tiny_case().ct, edit=edit)
    with pytest.raises(InputError, match=message) as caught:
        read_ct(tmp_path / "ct")
    assert str(caught.value).startswith(str(tmp_path / "ct"))
    assert "\n" not in str(caught.value)


def test_positions_rounded_to_tenths_are_as_good(tmp_path: Path) -> None:
    ct = tiny_case().ct
    ct.SetSpacing((1.3, 1.5, 0.625))

    def rounded(file: FileDataset, k: int) -> None:
        file.ImagePositionPatient = [round(float(mm), 1) for mm in file.ImagePositionPatient]

    write_series(tmp_path / "ct", ct, edit=rounded)
    assert read_ct(tmp_path / "ct").GetSpacing() == pytest.approx((1.3, 1.5, 0.625), abs=0.01)


def test_positions_win_over_the_thickness(tmp_path: Path) -> None:
    def thick(file: FileDataset, k: int) -> None:
        file.SliceThickness, file.SpacingBetweenSlices = 5, -7

    write_series(tmp_path / "ct", tiny_case().ct, edit=thick)
    assert same_grid(read_ct(tmp_path / "ct"), tiny_case().ct)


def test_one_slice_is_as_thick_as_it_says(tmp_path: Path) -> None:
    write_series(tmp_path / "ct", tiny_case().ct[:, :, 10:11])
    assert same_grid(read_ct(tmp_path / "ct"), tiny_case().ct[:, :, 10:11])
    write_series(tmp_path / "thin", tiny_case().ct[:, :, 10:11], edit=lambda file, k: delattr(file, "SliceThickness"))
    with pytest.raises(InputError, match="expected SliceThickness in a single slice, got none"):
        read_ct(tmp_path / "thin")


@pytest.mark.parametrize("direction", RIGHT_HANDED)
@pytest.mark.parametrize("backwards", [False, True])
def test_one_file_with_many_frames(direction: np.ndarray, backwards: bool, tmp_path: Path) -> None:
    ct = tiny_case(direction=direction).ct
    order = list(range(21))[:: -1 if backwards else 1]
    write_frames(tmp_path / "ct", ct, order)
    read = read_ct(tmp_path / "ct")
    expected = ct[:, :, ::-1] if backwards else ct
    assert same_grid(read, expected)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(read), sitk.GetArrayFromImage(expected))


def test_frames_that_are_no_regular_stack(tmp_path: Path) -> None:
    ct, folder = tiny_case().ct, tmp_path / "ct"
    write_frames(tmp_path / "mixed", ct, [2, 0, 1, *range(3, 21)])
    with pytest.raises(InputError, match="expected frames in the order of their positions, got them shuffled"):
        read_ct(tmp_path / "mixed")
    file = write_frames(folder, ct)
    frames = file.PerFrameFunctionalGroupsSequence
    for k, frame in enumerate(frames):
        move(frame.PlanePositionSequence[0], (0, 0.2 * k, 0))
    file.save_as(folder / "ct.dcm")
    with pytest.raises(InputError, match="straight above each other, got one 4 mm to the side"):
        read_ct(folder)
    del frames[3].PlanePositionSequence
    file.save_as(folder / "ct.dcm")
    with pytest.raises(InputError, match="expected position, orientation and spacing of every frame"):
        read_ct(folder)


def test_two_files_with_many_frames(tmp_path: Path) -> None:
    write_frames(tmp_path / "ct", tiny_case().ct)
    second = write_frames(tmp_path / "other", tiny_case().ct)
    second.SeriesInstanceUID = pydicom.dcmread(tmp_path / "ct" / "ct.dcm").SeriesInstanceUID
    second.save_as(tmp_path / "ct" / "second.dcm")
    with pytest.raises(InputError, match="expected a 3D series with one value per voxel, got 4D"):
        read_ct(tmp_path / "ct")
