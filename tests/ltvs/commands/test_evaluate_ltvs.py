"""The command line: label maps in, table, cases.csv and summary.json out."""

import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

import evaluate_ltvs
from evaluate_ltvs import EvaluateSettings, main
from ltvs.runtime.command_line import run
from ltvs.runtime.errors import InputError
from ltvs.volume.images import write_volume


def write(path: Path, tumor: tuple[int, int, int], size: tuple[int, int, int] = (12, 10, 9)) -> Path:
    """A liver with a tumor of one voxel at index (x, y, z); spacing differs along every axis."""
    labels = np.ones(size[::-1], np.uint8)
    labels[tumor[::-1]] = 3
    image = sitk.GetImageFromArray(labels)
    image.SetSpacing((0.5, 0.7, 3.0))
    write_volume(image, path)
    return path


@pytest.mark.parametrize(("step", "mm"), [((3, 0, 0), 1.5), ((0, 3, 0), 2.1), ((0, 0, 3), 9.0)])
def test_distances_follow_the_spacing_of_the_file(tmp_path: Path, step: tuple[int, int, int], mm: float) -> None:
    moved = tuple(np.add((2, 3, 4), step).tolist())
    p, r = write(tmp_path / "p.nii.gz", moved), write(tmp_path / "r.nii.gz", (2, 3, 4))
    main(EvaluateSettings(p, r, tmp_path / "out"))
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["tumor"] == {"dice": 0, "iou": 0, "hd95_mm": pytest.approx(mm), "n": 1, "missed": 0}
    assert summary["liver"] == {"dice": 1, "iou": 1, "hd95_mm": 0, "n": 1, "missed": 0}
    assert summary["vessel"]["n"] == 0
    assert (summary["lesions"]["missed_under_10_mm"], summary["lesions"]["false_under_10_mm"]) == (1, 1)
    assert (summary["lesions"]["recall"], summary["lesions"]["precision"]) == (0, 0)


def test_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for name, place in (("b", (5, 6, 7)), ("a", (1, 2, 3))):
        write(tmp_path / "my predictions" / f"{name}.nii.gz", place)
        write(tmp_path / "references" / f"{name}.mha", (1, 2, 3))
    out = tmp_path / "out ä"
    words = ("--prediction", tmp_path / "my predictions", "--reference", tmp_path / "references", "--output", out)
    monkeypatch.setattr(sys, "argv", ["evaluate_ltvs.py", *map(str, words)])
    run(main, EvaluateSettings)
    said = capsys.readouterr().out
    assert "predictions" in said
    assert "0.500" in said
    assert "at least 10% of it is predicted" in " ".join(said.split())
    assert f"summary: {out / 'summary.json'}" in said
    rows = (out / "cases.csv").read_text(encoding="utf-8").splitlines()
    assert rows[0].startswith("case,liver_dice,liver_iou,liver_hd95_mm,liver_missed,tumor_dice,")
    assert [row.split(",")[0] for row in rows[1:]] == ["a", "b"]
    assert json.loads((out / "summary.json").read_text())["tumor"]["dice"] == 0.5


def test_nothing_is_written_for_bad_input(tmp_path: Path) -> None:
    p, r = write(tmp_path / "p.mha", (1, 2, 3)), write(tmp_path / "r.mha", (1, 2, 3), (12, 10, 8))
    with pytest.raises(InputError, match=r"p\.mha and .*r\.mha: expected one grid"):
        main(EvaluateSettings(p, r, tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_diameters_are_axial_on_slices_of_another_plane(tmp_path: Path) -> None:
    """A row of 30 mm along x; where the file says that x runs to the head, it is 0.7 mm wide in axial planes."""
    for name, direction in (("axial", (1, 0, 0, 0, 1, 0, 0, 0, 1)), ("sagittal", (0, 0, 1, 0, 1, 0, 1, 0, 0))):
        labels = np.ones((4, 5, 70), np.uint8)
        labels[2, 2, 5:65] = 3
        image = sitk.GetImageFromArray(labels)
        image.SetSpacing((0.5, 0.7, 0.6))
        image.SetDirection(direction)
        write_volume(image, tmp_path / f"{name}.mha")
        main(EvaluateSettings(tmp_path / f"{name}.mha", tmp_path / f"{name}.mha", tmp_path / name))
    lesions = [json.loads((tmp_path / name / "summary.json").read_text())["lesions"] for name in ("axial", "sagittal")]
    assert lesions[0]["found_over_20_mm"] == lesions[1]["found_under_10_mm"] == 1


def test_help_states_what_empty_masks_get(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["evaluate_ltvs.py", "--help"])
    with pytest.raises(SystemExit, match="0"):
        run(main, EvaluateSettings)
    said = " ".join(capsys.readouterr().out.split())
    for rule in (
        "neither map has it: the means leave the case out",
        "(false alarm): Dice, IoU and clDice are 0",
        "(missed): the same, and `missed` counts the case",
        "found if at least 10% of its voxels",
    ):
        assert rule in said


def test_errors_are_one_line_for_the_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--prediction=no.mha", "--reference=no.mha", f"--output={tmp_path / 'out'}"]
    monkeypatch.setattr(sys, "argv", ["evaluate_ltvs.py", *words])
    with pytest.raises(SystemExit, match="2"):
        runpy.run_path(evaluate_ltvs.__file__, run_name="__main__")
    assert capsys.readouterr().err == "error: no.mha: does not exist\n"
