"""Your own cohort: a folder per case."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import SimpleITK as sitk

from ltvs.runtime.errors import InputError
from ltvs.sources.ltvs import ltvs
from ltvs.volume.images import write_volume
from support.tiny_cases import array, assert_is_the_tiny_case, tiny_case
from support.volume_file_layouts import APPLE_DOUBLE, write_own

CASE = tiny_case()


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    write_own(tmp_path / "Frau Ä 1", CASE)
    write_own(tmp_path / "liver_30", CASE, (".mha", ".nrrd", ".nii.gz", ".nii"))
    for file in list(tmp_path.rglob("*.*")):
        file.with_name(f"._{file.name}").write_bytes(APPLE_DOUBLE)
    (tmp_path / ".cache").mkdir()
    (tmp_path / "readme.txt").write_text("hello")
    (tmp_path / "Frau Ä 1" / "artery.nii.gz").write_bytes(b"not looked at")
    return tmp_path


def test_folders_with_any_of_the_formats(cohort: Path) -> None:
    source = ltvs(cohort)
    assert list(source) == ["Frau Ä 1", "liver_30"]
    assert [entry.patient for entry in source.values()] == ["Frau Ä 1", "lits-030"]
    assert {path.name for path in source["liver_30"].files} == {"ct.mha", "liver.nrrd", "vessel.nii.gz", "tumor.nii"}
    for name, entry in source.items():
        case = entry.load()
        assert case.name == name
        assert_is_the_tiny_case(case)


def test_one_case_alone(cohort: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert_is_the_tiny_case(ltvs(cohort / "Frau Ä 1")["Frau Ä 1"].load())
    monkeypatch.chdir(cohort / "liver_30")
    assert list(ltvs(Path())) == ["liver_30"]


def test_a_patient_without_tumors_has_an_empty_mask(cohort: Path) -> None:
    write_volume(CASE.tumor * 0, cohort / "liver_30" / "tumor.nii")
    case = ltvs(cohort)["liver_30"].load()
    assert_is_the_tiny_case(case, ("liver", "vessel"))
    assert not array(case.tumor).any()


def move(folder: Path) -> None:
    moved = sitk.Image(CASE.vessel)
    moved.SetSpacing((1, 1, 1))
    write_volume(moved, folder / "vessel.nii.gz")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "ct.mha").unlink(), r"liver_30: expected ct \(.nii.gz, .nii, .nrrd, .mha\), found none$"),
        (
            lambda f: (f / "tumor.nii").unlink(),
            "expected tumor .* found none; if the patient has no tumor, give an",
        ),
        (
            lambda f: (f / "vessel.nii.gz").unlink(),
            "expected vessel .* if the patient has no vessel, give an",
        ),
        (lambda f: shutil.copy(f / "ct.mha", f / "CT.mha"), "expected one file ct, got CT.mha, ct.mha; keep one"),
        (lambda f: (f / "liver.nrrd").write_bytes(b"NRRD"), "liver.nrrd: cannot be read as a volume"),
        (move, r"vessel.nii.gz: does not lie on the CT's grid: spacing \(1, 1, 1\), expected \(1.3, 1.5, 2\); is"),
        (shutil.rmtree, "liver_30: cannot be read"),
    ],
)
def test_what_is_wrong_with_a_case_is_said(cohort: Path, damage: Callable[[Path], object], message: str) -> None:
    before = ltvs(cohort)
    damage(cohort / "liver_30")
    source = before if damage is shutil.rmtree else ltvs(cohort)
    with pytest.raises(InputError, match=message):
        source["liver_30"].load()
    assert_is_the_tiny_case(source["Frau Ä 1"].load())


def test_an_empty_case_folder_is_an_error_of_its_own(cohort: Path) -> None:
    (cohort / "nobody").mkdir()
    entry = ltvs(cohort)["nobody"]
    assert entry.files == ()
    with pytest.raises(InputError, match="nobody: expected ct"):
        entry.load()


def test_no_case_at_all(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected a folder per case with ct, liver, vessel, tumor .* found none"):
        ltvs(tmp_path)
