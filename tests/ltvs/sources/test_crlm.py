"""Colorectal-Liver-Metastases: CT and segmentation told by content, segments placed by geometry."""

import doctest
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from highdicom.seg import Segmentation
from pydicom.uid import generate_uid

import ltvs.sources.crlm
from ltvs.runtime.errors import InputError
from ltvs.sources import Source
from ltvs.sources.crlm import crlm, structure_of
from ltvs.volume.case import Case
from support.crlm_damage import (
    another_series,
    coarser,
    cut_short,
    edit,
    far_away,
    half_a_pixel_aside,
    one_slice_up,
    renamed,
    rewrite,
    seg_of,
    uneven,
    without,
    without_position,
)
from support.crlm_layout import reorder_frames, segments_of, write_ct, write_patient, write_seg
from support.tiny_cases import array, assert_is_the_tiny_case, tiny_case

CASE = tiny_case()


def only_case(root: Path) -> Case:
    (entry,) = crlm(root).values()
    return entry.load()


def test_the_examples_in_the_docstring() -> None:
    failed, tried = doctest.testmod(ltvs.sources.crlm)
    assert (failed, tried) == (0, 1)


@pytest.mark.parametrize(
    ("label", "structure"),
    [
        ("Liver", "liver"),
        ("Liver Remnant", None),
        ("Liver_Remnant", None),
        ("Hepatic", "vessel"),
        ("Portal", "vessel"),
        ("Tumor_1", "tumor"),
        ("Tumor_23", "tumor"),
        ("tumor 4", "tumor"),
        ("Tumor", "tumor"),
    ],
)
def test_what_a_segment_shows(label: str, structure: str | None) -> None:
    assert structure_of(label) == structure


def as_downloaded(study: Path) -> None:
    """Nothing is changed; beside the patients lies what the data retriever leaves there."""
    root = study.parents[2]
    (root / "metadata.csv").write_text("Series UID,Collection\n")
    (root / "Colorectal-Liver-Metastases" / "LICENSE").write_text("CC BY 4.0")


def flat(study: Path) -> None:
    """All files in one folder, under names that say nothing, and with the files of a Mac among them."""
    root = study.parents[2]
    for k, file in enumerate(sorted(root.rglob("*.dcm"), reverse=True)):
        file.rename(root / f"IM{k}")
    (root / "._IM0").write_bytes(b"\x00\x05\x16\x07")
    shutil.rmtree(root / "Colorectal-Liver-Metastases")


def with_another_series(study: Path) -> None:
    """A scout of the same patient, which the segmentation does not refer to."""
    write_ct(study / "1.000000-SCOUT-1", CASE, "CRLM-CT-1001", Modality="CT")


@pytest.mark.parametrize("arranged", [as_downloaded, flat, with_another_series])
def test_every_layout(tmp_path: Path, arranged: Callable[[Path], None]) -> None:
    arranged(write_patient(tmp_path))
    source = crlm(tmp_path)
    assert list(source) == ["crlm-1001"]
    entry = source["crlm-1001"]
    assert entry.patient == "crlm-1001"
    assert len([path for path in entry.files if path.is_file()]) == 22 + 21 * (arranged is with_another_series)
    case = pickle.loads(pickle.dumps(entry)).load()  # as a worker process gets it
    assert case.name == "crlm-1001"
    assert_is_the_tiny_case(case)


def test_patients_in_one_folder_are_told_apart(tmp_path: Path) -> None:
    for number in (1002, 1199):
        write_patient(tmp_path, number)
    for k, file in enumerate(sorted(tmp_path.rglob("*.dcm"))):
        file.rename(tmp_path / f"{k}.dcm")
    source = crlm(tmp_path)
    assert list(source) == ["crlm-1002", "crlm-1199"]
    for entry in source.values():
        assert_is_the_tiny_case(entry.load())


def shuffled(segmentation: Segmentation) -> None:
    order = np.random.default_rng(5).permutation(int(segmentation.NumberOfFrames))
    reorder_frames(segmentation, order.tolist())


def reversed_order(segmentation: Segmentation) -> None:
    reorder_frames(segmentation, range(int(segmentation.NumberOfFrames))[::-1])


@pytest.mark.parametrize(
    "options",
    [
        {"changed": shuffled},
        {"changed": reversed_order},
        {"flip_rows": True},
        {"flip_rows": True, "changed": shuffled},
        {"crop": (slice(3, 19), slice(2, 24), slice(1, 28))},
        {"crop": (slice(3, 19), slice(2, 24), slice(1, 28)), "flip_rows": True, "changed": shuffled},
    ],
)
def test_frames_are_placed_by_geometry_not_by_order(tmp_path: Path, options: dict) -> None:
    write_patient(tmp_path, **options)
    assert_is_the_tiny_case(only_case(tmp_path))


def test_the_frames_in_these_tests_do_differ_in_order(tmp_path: Path) -> None:
    """Frames written in random order would be wrong if they were read in file order."""
    plain, mixed = (
        highdicom_frames(write_patient(tmp_path / name, **options))
        for name, options in (("a", {}), ("b", {"changed": shuffled}))
    )
    assert plain.shape == mixed.shape
    assert (plain != mixed).any()


def highdicom_frames(study: Path) -> np.ndarray:
    (path,) = study.glob("*Segmentation*/*.dcm")
    return pydicom.dcmread(path).pixel_array


def two_acquisitions(root: Path, shift: float, **tags: object) -> None:
    """One series with a late acquisition besides the one that is segmented, `shift` mm higher."""
    series = generate_uid()
    folder = root / "series"
    slices = write_ct(folder, CASE, "CRLM-CT-1001", SeriesInstanceUID=series, AcquisitionTime="120000")
    late = sitk.Image(CASE.ct) + 50
    late.SetOrigin(np.add(late.GetOrigin(), (0, 0, shift)).tolist())
    other = Case("late", late, *(CASE.liver,) * 3)
    usual = {"AcquisitionNumber": 2, "AcquisitionTime": "120500"}
    write_ct(root / "late", other, "CRLM-CT-1001", SeriesInstanceUID=series, **(usual | tags))
    for k, file in enumerate(sorted((root / "late").iterdir())):
        file.rename(folder / f"2-{k:03d}.dcm")
    write_seg(root / "seg.dcm", slices, segments_of(CASE))


@pytest.mark.parametrize("shift", [0.0, 1.0, 0.7, 42.0, 60.0])
@pytest.mark.parametrize("number", [1, 2])
def test_the_acquisition_that_was_segmented_is_read(tmp_path: Path, shift: float, number: int) -> None:
    two_acquisitions(tmp_path, shift, AcquisitionNumber=number)
    case = only_case(tmp_path)
    if shift == 42.0:
        # The late slices go on where the others end: one volume, of which the tiny case is the lower half.
        case = Case(case.name, case.ct[:, :, :21], *(m[:, :, :21] for m in (case.liver, case.vessel, case.tumor)))
    assert_is_the_tiny_case(case)


def test_where_links_cannot_be_made_slices_are_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise OSError(1, "Operation not permitted")

    two_acquisitions(tmp_path, 60.0, AcquisitionNumber=2)
    monkeypatch.setattr(Path, "symlink_to", refused)
    assert_is_the_tiny_case(only_case(tmp_path))


def test_slices_go_by_position_whatever_tags_and_names_say(tmp_path: Path) -> None:
    wrong = {"SliceThickness": 7.5, "SpacingBetweenSlices": 0.7, "InstanceNumber": 1}
    slices = write_ct(tmp_path / "ct", CASE, "CRLM-CT-1001", upwards=False, **wrong)
    write_seg(tmp_path / "seg.dcm", slices, segments_of(CASE))
    assert_is_the_tiny_case(only_case(tmp_path))


def test_positions_that_were_rounded_still_make_a_volume(tmp_path: Path) -> None:
    """The smallest of all distances is 1.6 mm here, which adds up over the slices."""
    ct = sitk.Image(CASE.ct)
    ct.SetSpacing((1.3, 1.5, 1.6666667))
    slices = write_ct(tmp_path / "ct", Case("rounded", ct, CASE.liver, CASE.vessel, CASE.tumor), "CRLM-CT-1001")
    for one in slices:
        x, y, z = one.ImagePositionPatient
        one.ImagePositionPatient = [x, y, round(z, 1)]
        one.save_as(one.filename)
    write_seg(tmp_path / "seg.dcm", slices, segments_of(CASE), crop=(slice(2, 21), slice(None), slice(None)))
    read = only_case(tmp_path)
    assert read.ct.GetSpacing() == pytest.approx((1.3, 1.5, 1.6667), abs=5e-3)
    for name in ("ct", "liver", "vessel", "tumor"):
        np.testing.assert_array_equal(array(getattr(read, name)), array(getattr(CASE, name)), err_msg=name)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (without("Liver"), r"1-1\.dcm: expected segments Liver; got Liver Remnant, Hepatic, Portal, Tumor_1, Tumor_2"),
        (without("Portal"), "expected segments Portal; got"),
        (without("Hepatic", "Tumor_1", "Tumor_2"), "expected segments Hepatic, Tumor_1; got Liver, Liver Remnant, Po"),
        (renamed, r"1-1\.dcm: segment 'Lesion' is not known; expected Liver, Liver Remnant, Hepatic, Portal and T"),
        (half_a_pixel_aside, r"1-1\.dcm: expected a segmentation on the CT's voxels; .* off by 0.50 voxels"),
        (one_slice_up, r"1-1\.dcm: \d+ voxels of its segments lie outside the CT; is it of another acquisition"),
        (coarser, r"expected a segmentation on the CT's voxels; got spacing 2.600 x 3.000 x 2.000 for 1.300 x 1.500"),
        (uneven, r"1-1\.dcm: its frames cannot be stacked"),
        (far_away, r"1-1\.dcm: expected frames at the CT, got one at \(-31, 12.5, 2.0\d+e\+06\); is it damaged"),
        (
            lambda s: rewrite(s, segments_of(CASE), probability=0.3),
            r"1-1\.dcm: expected whole numbers, got 0.29.*probab",
        ),
        (another_series, r"expected the one CT series that 1-1\.dcm refers to, found none of it among 1 CT series"),
        (lambda s: seg_of(s).unlink(), "crlm-1001: expected one DICOM segmentation, got none; download the patient"),
        (lambda s: shutil.copy(seg_of(s), s / "2.dcm"), r"expected one DICOM segmentation, got .*2\.dcm"),
        (lambda s: cut_short(seg_of(s), 0.9), r"1-1\.dcm: "),
        (lambda s: cut_short(sorted(s.glob("*-NA-*/*.dcm"))[4], 0.9), r"is DICOM but cannot be read, is it cut short"),
        (lambda s: sorted(s.glob("*-NA-*/*.dcm"))[4].unlink(), "got 20 in 1 acquisition.* is a slice missing"),
        (
            without_position,
            r"crlm-1001: .*1-004\.dcm: expected a CT slice with its position and orientation",
        ),
        (lambda s: shutil.rmtree(next(s.glob("*-NA-*"))), "refers to, found none of it among 0 CT series"),
    ],
)
def test_what_is_wrong_with_a_patient_is_said_and_leaves_the_others(
    tmp_path: Path, damage: Callable[[Path], object], message: str
) -> None:
    write_patient(tmp_path, 1003)
    damage(write_patient(tmp_path))
    source: Source = crlm(tmp_path)
    assert list(source) == ["crlm-1001", "crlm-1003"]
    with pytest.raises(InputError, match=message) as raised:
        source["crlm-1001"].load()
    assert "\n" not in str(raised.value)
    assert "series-" not in str(raised.value), "no temporary folder is named"
    assert_is_the_tiny_case(source["crlm-1003"].load())


def test_probabilities_of_0_and_1_are_masks(tmp_path: Path) -> None:
    rewrite(write_patient(tmp_path), segments_of(CASE), probability=1.0)
    assert_is_the_tiny_case(only_case(tmp_path))


def test_a_segmentation_without_references_goes_with_the_only_series(tmp_path: Path) -> None:
    def drop(dataset: pydicom.Dataset) -> None:
        dataset.pop("ReferencedSeriesSequence")
        for group in dataset.PerFrameFunctionalGroupsSequence:
            group.pop("DerivationImageSequence")

    edit(seg_of(write_patient(tmp_path)), drop)
    assert_is_the_tiny_case(only_case(tmp_path))


def test_an_id_that_is_no_file_name(tmp_path: Path) -> None:
    for patient, folder in (("../up/ä 1", "a"), ("../up:ä 1", "b")):
        slices = write_ct(tmp_path / folder, CASE, patient)
        write_seg(tmp_path / folder / "seg.dcm", slices, segments_of(CASE))
        if folder == "a":
            assert list(crlm(tmp_path)) == ["_up_ä_1"]
    with pytest.raises(InputError, match="expected patients whose ids differ in letters or digits, got _up_ä_1 twice"):
        crlm(tmp_path)


def test_no_patient_at_all(tmp_path: Path) -> None:
    (tmp_path / "manifest.tcia").write_text("downloadServerUrl=")
    with pytest.raises(InputError, match="expected DICOM files of CTs and segmentations in it, found none"):
        crlm(tmp_path)
