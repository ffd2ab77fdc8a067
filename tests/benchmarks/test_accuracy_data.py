"""Scenes with contrasts of their own and real CTs as cases of the accuracy study."""

import re
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from benchmarks.accuracy.cases import names_for_testing, names_for_training, names_of_cts, read_case, write_case
from benchmarks.accuracy.data import real_ct, rendered
from ltvs.phantom.maps import open_maps, paint_maps
from ltvs.runtime.errors import InputError
from ltvs.sources import Entry
from ltvs.volume.case import Case
from support.study_cases import volume


def coarse_maps(seed: int, folder: Path) -> None:
    paint_maps(seed, folder, 8.0, 5.0)


def test_scenes_of_each_patient_are_made_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(rendered, "paint_maps", coarse_maps)
    monkeypatch.setattr(rendered, "TRAINING", [5])
    monkeypatch.setattr(rendered, "TEST", [6])
    monkeypatch.setattr(rendered, "TRAINING_SCENES", 2)
    monkeypatch.setattr(rendered, "TEST_SCENES", 1)
    monkeypatch.setattr("sys.argv", ["rendered", "--output", str(tmp_path), "--workers", "1"])
    assert rendered.main() == 0
    assert sorted(capsys.readouterr().out.splitlines()) == ["5: 2 scenes", "6: 1 scenes"]
    assert names_for_training(tmp_path, "all") == ["rendered-train-5-0", "rendered-train-5-1"]
    assert names_for_training(tmp_path, "plain") == []
    assert names_for_testing(tmp_path) == ["rendered-6-0"]
    one, other = (read_case(tmp_path / f"rendered-train-5-{i}.npz") for i in range(2))
    assert one.hu.shape == rendered.SIZE
    assert not np.array_equal(one.hu, other.hu)
    assert rendered.main() == 0
    assert capsys.readouterr().out == ""


def test_a_scene_shows_a_tumor(tmp_path: Path) -> None:
    coarse_maps(7, tmp_path)
    patient = open_maps(tmp_path)
    found = [rendered.scene(patient, 7, i) for i in range(3)]
    assert all((one.labels == 3).sum() >= rendered.SHOWN for one in found)
    assert np.array_equal(found[0].hu, rendered.scene(patient, 7, 0).hu)


def test_a_patient_that_cannot_be_made_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def broken(seed: int, folder: Path) -> None:
        raise InputError(f"{seed}: no room")

    monkeypatch.setattr(rendered, "paint_maps", broken)
    monkeypatch.setattr(rendered, "TRAINING", [5])
    monkeypatch.setattr(rendered, "TEST", [])
    monkeypatch.setattr("sys.argv", ["rendered", "--output", str(tmp_path), "--workers", "1"])
    assert rendered.main() == 2
    assert capsys.readouterr().err == "error: 5: 5: no room\n"
    assert list(tmp_path.iterdir()) == []


def labeled_ct(*, vessels: bool = True) -> Case:
    """A CT of 2 x 1 x 1 mm with a liver of 40 x 30 x 20 mm, a vessel and a tumor in it."""
    labels = np.zeros((20, 60, 70), np.uint8)
    labels[5:15, 15:45, 15:55] = 1
    parts = [np.zeros_like(labels) for _ in range(2)]
    parts[0][8:10, 20:40, 25:30] = 1
    parts[1][11:14, 20:30, 40:50] = 1
    hu = np.int16([-900, 100])[labels] + 60 * parts[0].astype(np.int16) - 40 * parts[1].astype(np.int16)
    images = [sitk.GetImageFromArray(array) for array in (hu, labels, *parts)]
    for image in images:
        image.SetSpacing((1.0, 1.0, 2.0))
    ct, liver, vessel, tumor = images
    return Case("a", ct, liver, vessel if vessels else None, tumor)


def test_a_real_ct_is_brought_onto_the_grid_of_the_scenes() -> None:
    case = labeled_ct()
    found = real_ct.on_grid(case)
    assert found.hu.shape == found.labels.shape == (16, 96, 96)
    assert found.hu.dtype == np.int16
    # The box is 60 mm wide, 96 pixels of 0.625 mm, and 2.5 mm from slice to slice; a voxel of the CT has 2 mm^3.
    voxel = 0.625**2 * 2.5
    for label, mask in ((2, case.vessel), (3, case.tumor)):
        mm3 = 2.0 * float(sitk.GetArrayViewFromImage(mask).sum())
        assert (found.labels == label).sum() * voxel == pytest.approx(mm3, rel=0.35)
    assert np.median(found.hu[found.labels == 1]) == 100
    assert np.median(found.hu[found.labels == 2]) > 130


def test_real_cts_are_scored_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    for i, name in enumerate(("rendered-train-1-0", "rendered-1-0")):
        write_case(tmp_path / f"{name}.npz", volume(i))
    monkeypatch.setitem(real_ct.COHORTS, "ircadb", lambda _: {"ircadb-9": Entry(labeled_ct, "9", ())})
    monkeypatch.setattr("sys.argv", ["real_ct", "--output", str(tmp_path), "--cohort", "ircadb", "any"])
    assert real_ct.main() == 0
    assert capsys.readouterr().out == "ircadb-9: made\n"
    assert names_of_cts(tmp_path) == ["ct-ircadb-9"]
    assert names_for_testing(tmp_path) == ["rendered-1-0"]
    assert names_for_training(tmp_path, "all") == ["rendered-train-1-0"]
    assert real_ct.main() == 0
    assert capsys.readouterr().out == ""


def test_a_cohort_that_cannot_be_used_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    words = ["real_ct", "--output", str(tmp_path), "--cohort"]
    monkeypatch.setitem(real_ct.COHORTS, "crlm", lambda _: {"a": Entry(lambda: labeled_ct(vessels=False), "a", ())})
    for cohort, message in (
        ("ircadb", r"error: .*no-such-folder.*\n"),
        ("crlm", r"error: a: expected vessels; got .*\n"),
    ):
        monkeypatch.setattr("sys.argv", [*words, cohort, str(tmp_path / "no-such-folder")])
        assert real_ct.main() == 2
        assert re.fullmatch(message, capsys.readouterr().err)
    monkeypatch.setattr("sys.argv", [*words, "lits", "."])
    with pytest.raises(SystemExit, match="2"):
        real_ct.main()
    assert "--cohort lits: expected one of msd08, ircadb, crlm, ltvs, prepared" in capsys.readouterr().err
