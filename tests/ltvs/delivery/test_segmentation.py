"""DICOM-SEG files: read back voxel for voxel, by three readers, and what they say of patient, series and structures."""

import errno
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

from ltvs.delivery.segmentation import write_segmentation
from ltvs.runtime.errors import InputError
from ltvs.volume.dicom_seg import place_segments, read_segmentation, references, segment_labels
from ltvs.volume.grids import Grid
from ltvs.volume.images import read_ct
from ltvs.volume.labels import COLORS
from ltvs.volume.resampling import resample
from support.crlm_layout import write_ct
from support.labeled_series import WRITERS, labeled_series, labels_of
from support.tiny_cases import OBLIQUE, SIGNED_PERMUTATIONS, array, tiny_case

UPRIGHT = SIGNED_PERMUTATIONS[0]


def masks_of(labels: sitk.Image) -> dict[str, np.ndarray]:
    values = array(labels)
    return {"Liver": values > 0, "Vessel": values == 2, "Tumor": values == 3}


def assert_reads_back(path: Path, labels: sitk.Image) -> None:
    """Assert that highdicom and this project read the same voxels back, on the grid of the CT."""
    expected = {name: mask for name, mask in masks_of(labels).items() if mask.any()}
    segmentation = read_segmentation(path)
    assert [*segment_labels(segmentation).values()] == [*expected]
    numbers = {name: [number] for number, name in segment_labels(segmentation).items()}
    placed = place_segments(path, segmentation, numbers, Grid.of(labels))
    for name, mask in expected.items():
        np.testing.assert_array_equal(array(placed[name]) > 0, mask, err_msg=name)
    # highdicom by itself: the slices between the first and the last one with labels.
    volume = highdicom.seg.segread(path).get_volume(skip_overlap_checks=True)
    kept = np.flatnonzero(expected["Liver"].any(axis=(1, 2)))
    part = np.stack(list(expected.values()), axis=-1)[kept[0] : kept[-1] + 1]
    first = Grid.of(labels).index(volume.position)[2]
    found = volume.array if round(float(first)) == kept[0] else volume.array[::-1]
    np.testing.assert_array_equal(found, part)


def assert_dcmqi_reads_back(path: Path, labels: sitk.Image, folder: Path) -> None:
    pytest.importorskip("dcmqi", reason="dcmqi is not installed (pip install dcmqi)")
    folder.mkdir()
    code = "import sys; from dcmqi import segimage2itkimage; sys.exit(segimage2itkimage())"
    options = ["--inputDICOM", str(path), "--outputDirectory", str(folder), "-t", "nrrd"]
    subprocess.run([sys.executable, "-c", code, *options], check=True, capture_output=True)
    for number, (name, mask) in enumerate(masks_of(labels).items(), 1):
        read = resample(sitk.ReadImage(str(folder / f"{number}.nrrd")), Grid.of(labels), nearest=True)
        np.testing.assert_array_equal(array(read) > 0, mask, err_msg=name)


@pytest.mark.parametrize(
    ("kind", "direction"),
    [
        ("usual", UPRIGHT),
        ("usual", SIGNED_PERMUTATIONS[21]),
        ("reversed", OBLIQUE[1]),
        ("enhanced", UPRIGHT),
        ("enhanced, reversed", OBLIQUE[0]),
    ],
)
def test_all_readers_find_the_same_voxels(tmp_path: Path, kind: str, direction: np.ndarray) -> None:
    labels, files = labeled_series(tmp_path / "ct", direction, WRITERS[kind])
    write_segmentation(labels, files, tmp_path / "out" / "x.seg.dcm")
    assert [*(tmp_path / "out").iterdir()] == [tmp_path / "out" / "x.seg.dcm"]
    assert_reads_back(tmp_path / "out" / "x.seg.dcm", labels)
    assert_dcmqi_reads_back(tmp_path / "out" / "x.seg.dcm", labels, tmp_path / "read")


@pytest.mark.parametrize("kind", ["usual", "enhanced"])
def test_a_checker_of_dicom_finds_no_errors(tmp_path: Path, kind: str) -> None:
    checker = shutil.which("dciodvfy")
    if checker is None:
        pytest.skip("dciodvfy is not installed (apt install dicom3tools)")
    labels, files = labeled_series(tmp_path / "ct", OBLIQUE[0], WRITERS[kind])
    write_segmentation(labels, files, tmp_path / "x.seg.dcm")
    said = subprocess.run([checker, str(tmp_path / "x.seg.dcm")], capture_output=True, text=True).stderr
    assert "Segmentation" in said
    assert "Error" not in said


@pytest.mark.slow
def test_a_real_case(tmp_path: Path) -> None:
    """It has no FrameOfReferenceUID, and empty PatientID and SeriesNumber."""
    data = os.environ.get("CROSSATTN3D_TEST_DATA")
    if not data:
        pytest.skip("CROSSATTN3D_TEST_DATA is not set: no real CT to try")
    with zipfile.ZipFile(Path(data) / "3Dircadb1.17.zip") as archive:
        archive.extractall(tmp_path)
    patient = tmp_path / "3Dircadb1.17"
    ct = read_ct(patient / "PATIENT_DICOM")
    values = np.zeros(ct.GetSize()[::-1], np.uint8)
    for label, names in ((1, ["liver"]), (2, ["portalvein", "venoussystem"]), (3, ["livertumor1", "livertumor2"])):
        for name in names:
            values[array(read_ct(patient / "MASKS_DICOM" / name, force=True)) > 0] = label
    labels = Grid.of(ct).place(sitk.GetImageFromArray(values))
    write_segmentation(labels, [*(patient / "PATIENT_DICOM").iterdir()], tmp_path / "x.seg.dcm")
    assert_reads_back(tmp_path / "x.seg.dcm", labels)
    assert_dcmqi_reads_back(tmp_path / "x.seg.dcm", labels, tmp_path / "read")


@pytest.fixture
def written(tmp_path: Path) -> tuple[pydicom.Dataset, list[Path]]:
    labels, files = labeled_series(tmp_path / "ct", UPRIGHT, WRITERS["usual"])
    write_segmentation(labels, files, tmp_path / "x.seg.dcm", origin="trained on made-up patients")
    return pydicom.dcmread(tmp_path / "x.seg.dcm"), files


def test_it_belongs_to_patient_study_and_series_of_the_ct(written: tuple[pydicom.Dataset, list[Path]]) -> None:
    found, files = written
    ct = pydicom.dcmread(files[0])
    for name in ("PatientID", "PatientName", "StudyInstanceUID", "StudyDate", "FrameOfReferenceUID"):
        assert found[name].value == ct[name].value, name
    assert found.SeriesInstanceUID != ct.SeriesInstanceUID
    series, instances = references(highdicom.seg.Segmentation.from_dataset(found))
    assert series == {ct.SeriesInstanceUID}
    (referred,) = found.ReferencedSeriesSequence
    every = {str(pydicom.dcmread(file).SOPInstanceUID) for file in files}
    assert {item.ReferencedSOPInstanceUID for item in referred.ReferencedInstanceSequence} == every
    assert instances <= every
    assert (found.SegmentationType, found.Modality, found.Manufacturer) == ("BINARY", "SEG", "crossattn3d")


def test_segments_have_coded_terms_colors_and_an_algorithm(written: tuple[pydicom.Dataset, list[Path]]) -> None:
    def code(sequence: pydicom.Sequence) -> tuple[str, str]:
        return sequence[0].CodingSchemeDesignator, sequence[0].CodeValue

    terms = {}
    for item in written[0].SegmentSequence:
        region = item.get("AnatomicRegionSequence")
        kinds = (item.SegmentedPropertyCategoryCodeSequence, item.SegmentedPropertyTypeCodeSequence)
        terms[item.SegmentLabel] = [*map(code, kinds), code(region) if region else None]
        assert item.SegmentAlgorithmType == "AUTOMATIC"
        (algorithm,) = item.SegmentationAlgorithmIdentificationSequence
        assert algorithm.AlgorithmSource == "trained on made-up patients"
        color = highdicom.color.CIELabColor.from_dicom_value(item.RecommendedDisplayCIELabValue).to_rgb()
        np.testing.assert_allclose(np.divide(color, 255), COLORS[item.SegmentLabel.lower()], atol=0.01)
    assert terms == {
        "Liver": [("SCT", "91723000"), ("SCT", "10200004"), None],
        "Vessel": [("SCT", "91723000"), ("SCT", "59820001"), ("SCT", "10200004")],
        "Tumor": [("SCT", "49755003"), ("SCT", "108369006"), ("SCT", "10200004")],
    }


@pytest.mark.parametrize(("of_the_ct", "expected"), [(7, 1007), (-5, 1000), (2**31 - 1, 1000), (None, 1000)])
def test_the_number_of_the_series_is_a_number_of_dicom(tmp_path: Path, of_the_ct: int | None, expected: int) -> None:
    case = tiny_case()
    write_ct(tmp_path / "ct", case, "p1", SeriesNumber=of_the_ct)
    write_segmentation(labels_of(case), [*(tmp_path / "ct").iterdir()], tmp_path / "x.dcm")
    assert pydicom.dcmread(tmp_path / "x.dcm").SeriesNumber == expected


def test_every_file_has_uids_of_its_own(tmp_path: Path) -> None:
    labels, files = labeled_series(tmp_path / "ct", UPRIGHT, WRITERS["usual"])
    for name in "ab":
        write_segmentation(labels, files, tmp_path / name)
    a, b = (pydicom.dcmread(tmp_path / name) for name in "ab")
    assert a.SOPInstanceUID != b.SOPInstanceUID
    assert a.SeriesInstanceUID != b.SeriesInstanceUID


def test_a_structure_without_voxels_has_no_segment(tmp_path: Path) -> None:
    labels, files = labeled_series(tmp_path / "ct", UPRIGHT, WRITERS["usual"])
    values = array(labels)
    values[values == 2] = 1
    without = Grid.of(labels).place(sitk.GetImageFromArray(values))
    write_segmentation(without, files, tmp_path / "x.seg.dcm")
    assert_reads_back(tmp_path / "x.seg.dcm", without)
    with pytest.raises(InputError, match=r"y\.seg\.dcm: expected labels above 0 to write as DICOM-SEG, got none"):
        write_segmentation(labels * 0, files, tmp_path / "y.seg.dcm")


@pytest.mark.parametrize(
    ("sets", "name"),
    [
        ("ISO_IR 100", "Müller^Jörg"),
        ("GB18030", "王^小东"),
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        ("ISO_IR 6", "not a term of DICOM^but common"),
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
def test_names_survive_in_any_character_set(tmp_path: Path, sets: str | list[str], name: str) -> None:
    case = tiny_case()
    write_ct(tmp_path / "ct", case, "p1", PatientName=name, SpecificCharacterSet=sets)
    write_segmentation(labels_of(case), [*(tmp_path / "ct").iterdir()], tmp_path / "x.dcm")
    assert str(pydicom.dcmread(tmp_path / "x.dcm").PatientName) == name


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
def test_a_header_that_breaks_the_rules_is_an_error_in_one_line(tmp_path: Path) -> None:
    case = tiny_case()
    write_ct(tmp_path / "ct", case, "p1", LossyImageCompression="01", StudyDate="yesterday")
    with pytest.raises(InputError, match=r"ct: its headers cannot be taken over to a DICOM-SEG \(\w+: .+\); export"):
        write_segmentation(labels_of(case), [*(tmp_path / "ct").iterdir()], tmp_path / "x.dcm")
    assert not (tmp_path / "x.dcm").exists()


def test_a_mistake_of_ours_is_not_blamed_on_headers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labels, files = labeled_series(tmp_path / "ct", UPRIGHT, WRITERS["usual"])
    monkeypatch.delitem(COLORS, "liver")
    with pytest.raises(KeyError, match="liver"):
        write_segmentation(labels, files, tmp_path / "x.seg.dcm")


def test_an_origin_that_dicom_would_cut_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="write_segmentation: expected an origin of 64 characters, got 65"):
        write_segmentation(labels_of(tiny_case()), [], tmp_path / "x.dcm", origin="x" * 65)


def test_a_full_disk_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labels, files = labeled_series(tmp_path / "ct", UPRIGHT, WRITERS["usual"])
    (tmp_path / "x.seg.dcm").write_text("old")

    def full(file: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match=r"x\.seg\.dcm: cannot be written \(No space left on device\)"):
        write_segmentation(labels, files, tmp_path / "x.seg.dcm")
    assert (tmp_path / "x.seg.dcm").read_text() == "old"
