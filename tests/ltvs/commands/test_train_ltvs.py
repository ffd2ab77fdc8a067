"""The command line of training, on a tiny prepared data set."""

import os
import re
import signal
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import ltvs.report.seed_summary
import train_ltvs
from ltvs.dataset.layout import PreparedSet
from ltvs.model.pipeline import NoLiverError
from ltvs.report.seed_summary import score_test_cases
from ltvs.runtime.command_line import run
from ltvs.runtime.files import read_json, write_json
from support.trained_runs import QUICK, curves_not_drawn, tiny_set
from train_ltvs import TrainSettings, main


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> PreparedSet:
    return tiny_set(tmp_path_factory.mktemp("data"))


def command(monkeypatch: pytest.MonkeyPatch, data: Path, output: Path, *words: str, curves: bool = False) -> None:
    """Run train_ltvs.py; without curves.png unless asked."""
    flags = []
    for name, value in QUICK.items():
        flags += [f"--{name.replace('_', '-')}", *map(str, value if isinstance(value, tuple) else (value,))]
    monkeypatch.setattr(sys, "argv", ["train_ltvs.py", "--data", str(data), "--output", str(output), *flags, *words])
    with nullcontext() if curves else curves_not_drawn():
        run(main, TrainSettings)


def test_both_stages(
    data: PreparedSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    command(monkeypatch, data.folder, tmp_path / "run", "--epochs", "1", curves=True)
    shown = capsys.readouterr()
    for stage in (1, 2):
        folder = tmp_path / "run" / f"stage{stage}"
        assert f"stage {stage}: validation Dice 0." in shown.out
        assert f"weights in {folder}" in shown.out
        assert (folder / "best.safetensors").is_file()
        assert (folder / "curves.png").read_bytes().startswith(b"\x89PNG")
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
    assert "stage2: holds weights, but no checkpoint to resume from" in capsys.readouterr().err
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


def test_what_is_trained_is_not_trained_again(
    data: PreparedSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    said = []
    for _ in range(2):
        command(monkeypatch, data.folder, tmp_path, "--stage", "1", "--epochs", "1")
        said.append(capsys.readouterr())
    assert said[0].out == said[1].out
    assert said[1].err == ""
    assert not (tmp_path / "stage1" / "checkpoints").exists()
    with pytest.raises(SystemExit, match="2"):
        command(monkeypatch, data.folder, tmp_path, "--stage", "1", "--epochs", "2")
    assert "with other settings (--epochs was 1, is 2)" in capsys.readouterr().err
    description = read_json(tmp_path / "stage1" / "settings.json")
    write_json(tmp_path / "stage1" / "settings.json", description | {"split": {"train": ["b"]}})
    with pytest.raises(SystemExit, match="2"):
        command(monkeypatch, data.folder, tmp_path, "--stage", "1", "--epochs", "1")
    assert "(split of the data set or the version has changed)" in capsys.readouterr().err


def test_seeds_are_averaged(
    data: PreparedSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    words = ("--epochs", "1", "--seeds", "2", "--seed", "3", "--score-norm", "mean")
    command(monkeypatch, data.folder, tmp_path, *words)
    shown = capsys.readouterr().out
    summary = read_json(tmp_path / "summary.json")
    assert list(summary["seeds"]) == ["3", "4"]
    for name, mean in summary["mean"].items():
        values = [run[name] for run in summary["seeds"].values() if run[name] is not None]
        assert mean == (pytest.approx(np.mean(values)) if values else None)
        assert summary["std"][name] == (pytest.approx(np.std(values, ddof=1)) if len(values) > 1 else None)
        assert name in shown
    assert {"stage 2 validation Dice", "test liver Dice", "test tumor IoU"} <= set(summary["mean"])
    for seed in (3, 4):
        run = tmp_path / f"seed{seed}"
        result = read_json(run / "stage1" / "result.json")
        assert summary["seeds"][str(seed)]["stage 1 validation Dice"] == result["dice"]
        assert read_json(run / "test" / "summary.json")["liver"]["n"] == 1
    weights = [(tmp_path / f"seed{seed}" / "stage1" / "last.safetensors").read_bytes() for seed in (3, 4)]
    assert weights[0] != weights[1]


def test_a_test_case_without_a_liver_counts_as_empty(
    data: PreparedSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing(*_: object, **__: object) -> None:
        raise NoLiverError("stage 1 finds no liver")

    monkeypatch.setattr(
        ltvs.report.seed_summary, "Pipeline", SimpleNamespace(load=lambda *_, **__: SimpleNamespace(label=nothing))
    )
    score_test_cases(tmp_path, data, "cpu")
    liver = read_json(tmp_path / "test" / "summary.json")["liver"]
    assert (liver["dice"], liver["missed"]) == (0, 1)


def test_an_estimate_writes_nothing(
    data: PreparedSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    command(monkeypatch, data.folder, tmp_path / "run", "--estimate", "--epochs", "300", "--seeds", "5")
    lines = capsys.readouterr().out.splitlines()
    assert re.fullmatch(
        r"stage 1: .* \(300 epochs x \d+ steps x \d+\.\d\d s, 300 validations x 2 cases x \d+\.\d\d s\)", lines[0]
    )
    assert re.fullmatch(r"total for 5 seeds: \d+ (s|min \d+ s|h \d+ min|d \d+ h)", lines[2])
    assert not (tmp_path / "run").exists()


def test_determinism_is_asked_of_pytorch(data: PreparedSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        command(monkeypatch, data.folder, tmp_path, "--stage", "1", "--epochs", "1", "--deterministic")
        assert torch.are_deterministic_algorithms_enabled()
    finally:
        torch.use_deterministic_algorithms(False)


#: Of a training in which the order of sums alone can differ.
IN_ANY_ORDER = ("--stage", "2", "--epochs", "1", "--norm", "instance", "--dice-over", "patch")


@pytest.fixture(scope="module")
def plain_weights(data: PreparedSet, tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    output = tmp_path_factory.mktemp("plain")
    with pytest.MonkeyPatch.context() as monkeypatch:
        command(monkeypatch, data.folder, output, *IN_ANY_ORDER)
    return load_file(output / "stage2" / "last.safetensors")


@pytest.mark.parametrize(("words", "changed"), [(["--use-checkpoint"], False), (["--accumulate", "2"], True)])
def test_ways_to_save_memory_change_nothing_or_rounding(
    data: PreparedSet, plain_weights: dict[str, torch.Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    words: list[str], changed: bool,
) -> None:  # fmt: skip
    command(monkeypatch, data.folder, tmp_path, *IN_ANY_ORDER, *words)
    saving = load_file(tmp_path / "stage2" / "last.safetensors")
    assert all(torch.equal(value, saving[name]) for name, value in plain_weights.items()) is not changed


def test_memory_that_runs_out_says_what_to_change(
    data: PreparedSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """Really: a patch of 8 x 999999 x 999999 voxels is 29 TiB."""
    with pytest.raises(SystemExit, match="2"):
        command(monkeypatch, data.folder, tmp_path, "--stage", "1", "--patch", "8", "999999", "999999")
    line = r"error: memory ran out \(Unable to allocate 29.* TiB .*\); give a smaller --patch\n"
    assert re.search(line, capsys.readouterr().err)


def test_ctrl_c_while_importing_is_one_word() -> None:
    code = "import ltvs, signal; signal.raise_signal(signal.SIGINT)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(Path(train_ltvs.__file__).parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (-signal.SIGINT, "interrupted\n")
