"""Task03_Liver and Task08_HepaticVessel of the Medical Segmentation Decathlon, as unpacked from their archives."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from ltvs.runtime.errors import InputError
from ltvs.sources.msd import msd03, msd08
from ltvs.volume.images import write_volume
from support.tiny_cases import array, assert_is_the_tiny_case, tiny_case
from support.volume_file_layouts import APPLE_DOUBLE, liver_and_tumor, vessel_and_tumor, whole_organ, write_task

CASE = tiny_case()
NAMES = ("hepaticvessel_001", "hepaticvessel_443")


@pytest.fixture
def task03(tmp_path: Path) -> Path:
    return write_task(tmp_path / "Task03_Liver", {"liver_0": liver_and_tumor(CASE), "liver_28": liver_and_tumor(CASE)})


@pytest.fixture
def task08(tmp_path: Path) -> Path:
    return write_task(tmp_path / "Task08_HepaticVessel", dict.fromkeys(NAMES, vessel_and_tumor(CASE)))


@pytest.fixture
def livers(tmp_path: Path) -> Path:
    """As in GLCUnet's archive; one of them with segments in place of one value."""
    folder = tmp_path / "livers"
    write_volume(CASE.liver, folder / "liver_annotation" / f"{NAMES[0]}.nii.gz")
    write_volume(CASE.liver * 7, folder / "liver_annotation" / f"{NAMES[1]}.nii.gz")
    (folder / "liver_annotation" / f"._{NAMES[0]}.nii.gz").write_bytes(APPLE_DOUBLE)
    return folder


@pytest.mark.parametrize("place", [lambda task: task, lambda task: task.parent])
def test_task03_has_liver_and_tumors_and_no_vessels(task03: Path, place) -> None:
    source = msd03(place(task03))
    assert list(source) == ["msd03-000", "msd03-028"]
    assert [entry.patient for entry in source.values()] == ["lits-000", "lits-028"]
    assert source["msd03-000"].files == (task03 / "imagesTr/liver_0.nii.gz", task03 / "labelsTr/liver_0.nii.gz")
    case = source["msd03-028"].load()
    assert case.name == "msd03-028"
    assert case.vessel is None
    assert_is_the_tiny_case(case, ("tumor",))
    np.testing.assert_array_equal(array(case.liver), array(whole_organ(CASE)))


def test_task08_with_livers_from_a_folder(task08: Path, livers: Path) -> None:
    source = msd08(task08.parent, liver=livers)
    assert list(source) == ["msd08-001", "msd08-443"]
    assert source["msd08-001"].patient == "msd08-001"
    assert {path.name for path in source["msd08-001"].files} == {f"{NAMES[0]}.nii.gz"}
    assert len(source["msd08-001"].files) == 3
    for entry in source.values():
        case = entry.load()
        assert_is_the_tiny_case(case, ("liver", "tumor"))
        np.testing.assert_array_equal(array(case.vessel), array(CASE.vessel) & (array(CASE.tumor) == 0))


def test_task08_with_livers_that_stage_1_finds(task08: Path, trained_run: Path) -> None:
    entry = msd08(task08, liver_from=trained_run, smallest_liver=1.0)["msd08-001"]
    assert entry.files[-2:] == (trained_run / "stage1/best.safetensors", trained_run / "stage1/settings.json")
    case = entry.load()
    found, truth = array(case.liver) > 0, array(CASE.liver) > 0
    assert (found & truth).sum() > 0.5 * truth.sum()
    air = sitk.Image(CASE.ct)
    air[:] = -1000
    write_volume(air, task08 / "imagesTr" / f"{NAMES[0]}.nii.gz")
    with pytest.raises(InputError, match="msd08-001: stage 1 finds no liver in this CT"):
        entry.load()


@pytest.mark.parametrize("given", [{}, {"liver": Path("a"), "liver_from": Path("b")}])
def test_task08_needs_one_way_to_find_livers(task08: Path, given: dict) -> None:
    with pytest.raises(InputError, match=r"expected --liver DIR .* or --liver-from RUN .* got (neither|both)"):
        msd08(task08, **given)


def test_a_run_that_cannot_be_used_is_said_at_once(task08: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no trained stage 1 here"):
        msd08(task08, liver_from=tmp_path)
    with pytest.raises(InputError, match=r"--device: expected cpu, .*; got 'banana'"):
        msd08(task08, liver_from=tmp_path, device="banana")


def test_livers_missing_for_all_for_one_or_there_twice(task08: Path, livers: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"--liver .*empty: expected liver masks .* found none"):
        msd08(task08, liver=tmp_path / "empty")
    shutil.copy(livers / "liver_annotation" / f"{NAMES[0]}.nii.gz", livers)
    with pytest.raises(InputError, match=r"expected one mask per case, got .*_001.nii.gz and .*_001.nii.gz"):
        msd08(task08, liver=livers)
    (livers / f"{NAMES[0]}.nii.gz").unlink()
    (livers / "liver_annotation" / f"{NAMES[1]}.nii.gz").unlink()
    source = msd08(task08, liver=livers)
    assert_is_the_tiny_case(source["msd08-001"].load(), ("liver", "tumor"))
    with pytest.raises(InputError, match=r"expected a liver mask hepaticvessel_443.nii.gz, found none; add it"):
        source["msd08-443"].load()


def test_a_liver_of_another_case_is_refused(task08: Path, livers: Path) -> None:
    moved = sitk.Image(CASE.liver)
    moved.SetOrigin((0, 0, 0))
    write_volume(moved, livers / "liver_annotation" / f"{NAMES[0]}.nii.gz")
    with pytest.raises(InputError, match=r"_001.nii.gz: does not lie on the CT's grid: origin \(0, 0, 0\), expected"):
        msd08(task08, liver=livers)["msd08-001"].load()


def test_a_bad_case_is_an_error_of_its_own(task03: Path) -> None:
    (task03 / "labelsTr" / "liver_0.nii.gz").unlink()
    write_volume(liver_and_tumor(CASE) + 1, task03 / "labelsTr" / "liver_28.nii.gz")
    source = msd03(task03)
    assert source["msd03-000"].files == (task03 / "imagesTr/liver_0.nii.gz",)
    with pytest.raises(InputError, match=r"labelsTr/liver_0.nii.gz: does not exist"):
        source["msd03-000"].load()
    with pytest.raises(InputError, match=r"liver_28.nii.gz: expected labels 0 background, 1 liver, 2 tumor; got 1"):
        source["msd03-028"].load()


def test_labels_of_another_case_are_refused(task03: Path) -> None:
    write_volume(liver_and_tumor(CASE)[:, :, :-1], task03 / "labelsTr" / "liver_0.nii.gz")
    reason = r"liver_0.nii.gz: does not lie on the CT's grid: size \(28, 25, 20\), expected \(28, 25, 21\); is a slice"
    with pytest.raises(InputError, match=reason):
        msd03(task03)["msd03-000"].load()


def test_another_task_or_none(task08: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected Task03_Liver with imagesTr/liver_N.nii.gz .* unpack the \.tar"):
        msd03(task08)
    (tmp_path / "Task03_Liver.tar").write_bytes(b"")
    with pytest.raises(InputError, match="expected Task03_Liver"):
        msd03(tmp_path / "Task03_Liver.tar")
