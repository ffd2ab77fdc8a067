"""3D-IRCADb-01 in every form in which people have it."""

import doctest
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest
import SimpleITK as sitk

import ltvs.sources.ircadb
from ltvs.runtime.errors import InputError
from ltvs.sources.ircadb import ircadb, patient_roots, structure_of
from ltvs.volume.case import Case
from ltvs.volume.images import same_grid
from support.ircadb_layout import nested, usual_masks, write_patient, write_usual, zipped
from support.tiny_cases import array, assert_is_the_tiny_case, tiny_case


@pytest.fixture
def patient(tmp_path: Path) -> Path:
    return write_usual(tmp_path / "in" / "3Dircadb1.17")


@pytest.mark.parametrize(
    ("name", "structure"),
    [
        ("liver", "liver"),
        ("livertumor", "tumor"),
        ("livertumor1", "tumor"),
        ("livertumor01", "tumor"),
        ("livertumor11", "tumor"),
        ("livertumors", "tumor"),
        ("portalvein", "vessel"),
        ("portalvein1", "vessel"),
        ("venoussystem", "vessel"),
        ("venacava", "vessel"),
        ("leftsurretumor", None),
        ("rightsurretumor", None),
        ("tumor", None),
        ("liverkyst", None),
        ("liverkyst01", None),
        ("livercyst", None),
        ("artery", None),
        ("skin", None),
        ("leftlung", None),
        ("liver2", None),
    ],
)
def test_what_a_mask_folder_shows(name: str, structure: str | None) -> None:
    assert structure_of(name) == structure


def test_the_examples_in_the_docstrings() -> None:
    failed, tried = doctest.testmod(ltvs.sources.ircadb)
    assert (failed, tried) == (0, 3)


def test_roots_of_patients_in_zips() -> None:
    names = ["a/3Dircadb1.2/PATIENT_DICOM.zip", "a/3Dircadb1.2/MASKS_DICOM.zip", "a/3Dircadb1.10.zip", "a/notes.zip"]
    assert patient_roots(names) == ["a/3Dircadb1.10.zip", "a/3Dircadb1.2"]
    assert patient_roots(["MASKS_DICOM/liver/image_0"]) == []


def in_one_folder(patient: Path) -> Path:
    return patient


def in_a_folder_of_patients(patient: Path) -> Path:
    (patient.parent / "readme.txt").write_text("hello")
    return patient.parent


def in_one_zip(patient: Path) -> Path:
    return zipped(patient, "3Dircadb1.17/")


def in_one_zip_without_a_folder(patient: Path) -> Path:
    return zipped(patient)


def in_nested_zips(patient: Path) -> Path:
    return nested(patient)


def in_a_folder_of_nested_zips(patient: Path) -> Path:
    return nested(patient).parent


def in_zips_in_a_folder(patient: Path) -> Path:
    zipped(patient / "MASKS_DICOM", "MASKS_DICOM/")
    zipped(patient / "PATIENT_DICOM")
    return patient.parent


def in_a_folder_with_one_part_unpacked(patient: Path) -> Path:
    zipped(patient / "MASKS_DICOM", "MASKS_DICOM/")
    return patient


def in_a_zip_of_nested_zips(patient: Path) -> Path:
    nested(patient)
    return zipped(patient.parent, "3Dircadb1/")


@pytest.mark.parametrize(
    "packed",
    [
        in_one_folder,
        in_a_folder_of_patients,
        in_one_zip,
        in_one_zip_without_a_folder,
        in_nested_zips,
        in_a_folder_of_nested_zips,
        in_zips_in_a_folder,
        in_a_folder_with_one_part_unpacked,
        in_a_zip_of_nested_zips,
    ],
)
def test_every_way_of_packing(
    packed: Callable[[Path], Path], patient: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = packed(patient)
    before = sorted(tmp_path.rglob("*"))
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    source = ircadb(place)
    assert list(source) == ["ircadb-17"]
    assert source["ircadb-17"].patient == "ircadb-17"
    assert source["ircadb-17"].files in [(path,) for path in (patient, patient.with_name("3Dircadb1.17.zip"), place)]
    assert_is_the_tiny_case(source["ircadb-17"].load())
    assert list(temporary.iterdir()) == []
    temporary.rmdir()
    assert sorted(tmp_path.rglob("*")) == before


def test_several_patients_in_one_zip_are_kept_apart(tmp_path: Path) -> None:
    for name in ("3Dircadb1.2", "3Dircadb1.20"):
        write_usual(tmp_path / "set" / name)
    case = tiny_case()
    write_patient(tmp_path / "set" / "3Dircadb1.3", usual_masks(case) | {"liver": case.liver * 0}, case)
    source = ircadb(zipped(tmp_path / "set"))
    assert list(source) == ["ircadb-02", "ircadb-20", "ircadb-03"]
    assert_is_the_tiny_case(source["ircadb-02"].load())
    assert not array(source["ircadb-03"].load().liver).any()


def test_slices_are_ordered_by_position_not_by_name(tmp_path: Path) -> None:
    write_usual(tmp_path / "3Dircadb1.1", upwards=False)
    assert_is_the_tiny_case(ircadb(tmp_path)["ircadb-01"].load())


def test_a_patient_without_liver_tumor_is_fine(tmp_path: Path) -> None:
    case = tiny_case()
    masks = {k: v for k, v in usual_masks(case).items() if not k.startswith("livertumor")}
    write_patient(tmp_path / "3Dircadb1.5", masks, case)
    read = ircadb(tmp_path)["ircadb-05"].load()
    assert not array(read.tumor).any()
    assert same_grid(read.tumor, case.ct)
    assert array(read.vessel).any()


def test_positions_win_over_tags_that_disagree(tmp_path: Path) -> None:
    """`SliceThickness` is how thick slices are, not how far apart; other tags are wrong at times."""
    folder = write_usual(tmp_path / "3Dircadb1.1")
    for file in folder.rglob("image_*"):
        header = pydicom.dcmread(file)
        header.SliceThickness, header.SpacingBetweenSlices, header.SliceLocation = 7.5, 0.5, 3.0
        header.save_as(file)
    assert_is_the_tiny_case(ircadb(tmp_path)["ircadb-01"].load())


def test_masks_of_half_the_slices_in_another_order_still_match(tmp_path: Path) -> None:
    """Each folder is put in order by its own positions."""
    case = tiny_case()
    folder = write_patient(tmp_path / "3Dircadb1.4", usual_masks(case), case)
    other = write_patient(tmp_path / "other", usual_masks(case), case, upwards=False)
    shutil.rmtree(folder / "MASKS_DICOM" / "liver")
    shutil.move(other / "MASKS_DICOM" / "liver", folder / "MASKS_DICOM" / "liver")
    assert_is_the_tiny_case(ircadb(folder)["ircadb-04"].load())


@pytest.mark.parametrize(
    ("removed", "message"),
    [
        ("MASKS_DICOM/liver", "ircadb-17: expected a liver mask in MASKS_DICOM, found none"),
        ("MASKS_DICOM/portalvein MASKS_DICOM/venacava", "ircadb-17: expected a vessel mask in MASKS_DICOM, found none"),
        ("MASKS_DICOM", "ircadb-17: expected one folder MASKS_DICOM, found none"),
        ("MASKS_DICOM/liver/image_9", "MASKS_DICOM/liver: expected evenly spaced slices, 2 mm; got 4 mm"),
        ("MASKS_DICOM/liver/image_20", "ircadb-17: mask liver .*does not lie on the CT's grid.*is a slice missing"),
        ("PATIENT_DICOM/image_20", "ircadb-17: mask liver .*does not lie on the CT's grid"),
    ],
)
def test_what_is_missing_is_named(patient: Path, removed: str, message: str) -> None:
    for name in removed.split():
        path = patient / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(InputError, match=message):
        ircadb(patient)["ircadb-17"].load()


def test_masks_of_another_patient_are_refused(patient: Path) -> None:
    case = tiny_case()
    moved = sitk.Image(case.liver)
    moved.SetOrigin((0, 0, 0))
    case = Case("moved", moved, moved, moved, moved)
    other = write_patient(patient.parent / "other", {"liver": moved}, case)
    shutil.rmtree(patient / "MASKS_DICOM" / "liver")
    shutil.move(other / "MASKS_DICOM" / "liver", patient / "MASKS_DICOM" / "liver")
    with pytest.raises(InputError, match="is it of another patient"):
        ircadb(patient)["ircadb-17"].load()


def test_no_patient_or_one_twice(patient: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        ircadb(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"no 3D-IRCADb patient here; expected 3Dircadb1\.N folders or zips"):
        ircadb(tmp_path / "empty")
    shutil.copytree(patient, patient.with_name("copy"))
    zipped(patient.with_name("copy"), "3Dircadb1.17/")
    with pytest.raises(InputError, match="expected each patient once, got ircadb-17 twice"):
        ircadb(patient.parent)


def test_a_broken_zip_leaves_the_others(patient: Path) -> None:
    (patient.parent / "3Dircadb1.3.zip").write_bytes(b"not a zip")
    source = ircadb(patient.parent)
    assert_is_the_tiny_case(source["ircadb-17"].load())
    with pytest.raises(InputError, match=r"3Dircadb1\.3\.zip: cannot be read as a zip"):
        source["ircadb-03"].load()


@pytest.mark.slow
def test_the_real_case() -> None:
    folder = os.environ.get("CROSSATTN3D_TEST_DATA")
    if not folder:
        pytest.skip("CROSSATTN3D_TEST_DATA is not set: no real CT to try")
    (case,) = (entry.load() for entry in ircadb(Path(folder) / "3Dircadb1.17.zip").values())
    assert case.name == "ircadb-17"
    assert case.ct.GetSize() == (512, 512, 119)
    assert case.ct.GetSpacing() == pytest.approx((0.743, 0.743, 1.6), abs=1e-6)
    counts = [int(array(mask).sum()) for mask in (case.liver, case.vessel, case.tumor)]
    assert counts == [2106497, 178611, 185990]
    hu = array(case.ct)
    inside = array(case.vessel) & array(case.liver)
    assert hu[inside > 0].mean() == pytest.approx(146, abs=2)
    assert hu[array(case.tumor) > 0].mean() == pytest.approx(76, abs=2)
