"""The command line of training, on a tiny prepared data set."""

import re
import sys
from pathlib import Path

import pytest

from ltvs.cli import run
from ltvs.files import read_json, write_json
from ltvs.prepared import PreparedSet
from train_ltvs import TrainSettings, main
from trained_runs import QUICK, tiny_set


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> PreparedSet:
    return tiny_set(tmp_path_factory.mktemp("data"))


def command(monkeypatch: pytest.MonkeyPatch, data: Path, output: Path, *words: str) -> None:
    flags = []
    for name, value in QUICK.items():
        flags += [f"--{name.replace('_', '-')}", *map(str, value if isinstance(value, tuple) else (value,))]
    monkeypatch.setattr(sys, "argv", ["train_ltvs.py", "--data", str(data), "--output", str(output), *flags, *words])
    run(main, TrainSettings)


def test_both_stages(
    data: PreparedSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    command(monkeypatch, data.folder, tmp_path / "run", "--epochs", "1")
    shown = capsys.readouterr()
    for stage in (1, 2):
        folder = tmp_path / "run" / f"stage{stage}"
        assert f"stage {stage}: validation Dice 0." in shown.out
        assert f"weights in {folder}" in shown.out
        assert (folder / "best.safetensors").is_file()
        assert read_json(folder / "settings.json")["training"]["epochs"] == 1
    assert re.search(r"stage 2 100%.*epoch 1/1  loss \d\.\d+  Dice vessel \d.* tumor .* patches/s", shown.err)


def test_one_stage_after_the_other(data: PreparedSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for stage, there in ((2, {"stage2"}), (1, {"stage1", "stage2"})):
        command(monkeypatch, data.folder, tmp_path, "--stage", str(stage), "--epochs", "1")
        assert {path.name for path in tmp_path.iterdir()} == there


def test_a_set_without_vessel_labels_trains_stage_1_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    data = tiny_set(tmp_path / "data")
    description = read_json(data.folder / "dataset.json")
    description["structures"] = ["liver", "tumor"]
    write_json(data.folder / "dataset.json", description)
    with pytest.raises(SystemExit, match="2"):
        command(monkeypatch, data.folder, tmp_path / "run")
    assert "expected labels of vessel and tumor to train stage 2" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    command(monkeypatch, data.folder, tmp_path / "run", "--stage", "1", "--epochs", "1")
    assert (tmp_path / "run" / "stage1" / "best.safetensors").is_file()


def test_a_trained_stage_stops_both_before_the_work(
    data: PreparedSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "stage2").mkdir()
    (tmp_path / "stage2" / "best.safetensors").write_bytes(b"weeks of work")
    with pytest.raises(SystemExit, match="2"):
        command(monkeypatch, data.folder, tmp_path)
    assert "stage2: holds weights, and no checkpoint to go on from" in capsys.readouterr().err
    assert not (tmp_path / "stage1" / "curves.csv").exists()
    assert (tmp_path / "stage2" / "best.safetensors").read_bytes() == b"weeks of work"


def test_no_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit, match="2"):
        command(monkeypatch, tmp_path / "nothing", tmp_path / "run")
    assert "no prepared data set here" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_fold(data: PreparedSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    split = {"train": ["b"], "validation": ["a"], "test": []}
    write_json(tmp_path / "my fold.json", split)
    words = ("--split", str(tmp_path / "my fold.json"), "--epochs", "1", "--stage", "1")
    command(monkeypatch, data.folder, tmp_path / "run", *words)
    assert read_json(tmp_path / "run" / "stage1" / "settings.json")["split"] == split
