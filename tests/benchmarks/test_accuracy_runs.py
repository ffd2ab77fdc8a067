"""Runs of the accuracy study: killed and gone on with, failed, in order; and the command itself."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks.accuracy import __main__ as command
from benchmarks.accuracy.cases import (
    Prepared,
    batch,
)
from benchmarks.accuracy.run import UNFINISHED, run
from benchmarks.accuracy.run_files import checkpoints_of, file_of, net_of
from benchmarks.accuracy.task import Task
from crossattn3d import UNet3d
from ltvs.training.checkpoints import has_checkpoint, load_checkpoint
from support.study_cases import CPU, TINY, write_cases


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cases(tmp_path_factory.mktemp("cases"))


class Killed(BaseException):
    """Stands for the end of the process."""


def test_a_run_that_was_killed_ends_like_one_that_was_not(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def go_on(runs: Path, seconds: float = 600) -> int:
        runs.mkdir(exist_ok=True)
        return run(folder, runs, "csca-instance", 1, "all", TINY, CPU, seconds)

    def until_step_2(cases: list[Prepared], task: Task, seed: int, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        if step == 2:
            raise Killed
        return batch(cases, task, seed, step)

    assert go_on(tmp_path / "whole") == 0
    with monkeypatch.context() as patched:
        patched.setattr("benchmarks.accuracy.run.EVERY", 0.0)
        patched.setattr("benchmarks.accuracy.run.batch", until_step_2)
        with pytest.raises(Killed):
            go_on(tmp_path / "killed")
    assert go_on(tmp_path / "killed", seconds=0) == UNFINISHED
    assert [path.name for path in (tmp_path / "killed").iterdir()] == ["csca-instance-1.checkpoints"]
    kept = load_checkpoint(checkpoints_of(file_of(tmp_path / "killed", "csca-instance", 1, "all")))
    assert kept is not None
    assert kept["progress"]["step"] == 2
    assert go_on(tmp_path / "killed") == 0
    left = sorted(path.name for path in (tmp_path / "killed").iterdir())
    assert left == ["csca-instance-1.json", "csca-instance-1.net.pt"]
    whole, again = (json.loads((tmp_path / n / "csca-instance-1.json").read_text()) for n in ("whole", "killed"))
    for key in ("scores", "losses", "parameters", "task", "probes", "finite"):
        assert again[key] == whole[key]
    assert set(whole["scores"]) == {"1", "0.25", "4", "frozen"}
    assert set(whole["scores"]["1"]) == {"plain-000", "3dircadb-1"}
    assert set(whole["probes"]) == {"8x8x8", "8x16x16", "8x32x32", "32x320x320"}


def test_a_run_chooses_the_odds_of_the_net_that_it_tests_and_keeps(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def raised(net: UNet3d, cases: list[Prepared], patch: object, device: object) -> None:
        assert [case.name for case in cases] == ["lits-10"]
        with torch.no_grad():
            net.head.bias[1] += 100

    monkeypatch.setattr("benchmarks.accuracy.run.calibrate", raised)
    task = replace(TINY, calibrated=1)
    assert run(folder, tmp_path, "csca-instance", 1, "all", task, CPU, sizes=(1,)) == 0
    result = file_of(tmp_path, "csca-instance", 1, "all")
    scores = json.loads(result.read_text())["scores"]
    for size in ("1", "frozen"):
        # All is vessel, of which each case has some.
        assert {by_class["tumor"]["dice"] for by_class in scores[size].values()} == {0}
        assert all(0 < by_class["vessel"]["dice"] < 0.5 for by_class in scores[size].values())
    assert torch.load(net_of(result))["head.bias"][1] > 50


def test_a_loss_that_is_not_finite_ends_the_run(folder: Path, tmp_path: Path) -> None:
    task = replace(TINY, learning_rate=1e30, steps=30)
    assert run(folder, tmp_path, "concat", 0, "plain", task, CPU, 600) == 0
    report = json.loads(file_of(tmp_path, "concat", 0, "plain").read_text())
    assert not report["finite"]
    assert report["scores"] == report["probes"] == {}


def test_seeds_come_before_variants_and_finished_runs_are_not_made_again(tmp_path: Path) -> None:
    arguments = command.argparse.Namespace(seeds=[0, 1], runs=tmp_path, data="all")
    file_of(tmp_path, "add", 0, "all").touch()
    order = list(command._order(arguments, ["concat", "add", "concat"]))
    assert order == [("concat", 0), ("concat", 1), ("add", 1)]


def accuracy(*options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks.accuracy", *map(str, options)],
        cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "expected --group or --variants; got neither"),
        (["--variants", "conct"], "variant 'conct': expected concat"),
    ],
)
def test_wrong_arguments_are_named(
    folder: Path,
    tmp_path: Path,
    options: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["accuracy", "--cases", str(folder), "--runs", str(tmp_path / "runs"), *options])
    with pytest.raises(SystemExit) as ended:
        command.main()
    assert ended.value.code == 2
    assert message in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.slow
def test_a_folder_without_cases_ends_a_run_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ["--cases", str(tmp_path), "--runs", str(tmp_path / "runs"), "--variants", "add", "--seeds", "0"]
    monkeypatch.setattr(sys, "argv", ["accuracy", *words])
    assert command.main() == 1
    said = capfd.readouterr()
    assert "add 0: failed, exit 2" in said.out
    assert said.err.strip() == (
        f"error: {tmp_path}: expected cases, *.npz; found none; make them with benchmarks.accuracy.data.rendered"
    )


@pytest.mark.slow
def test_the_study_runs_in_several_calls(folder: Path, tmp_path: Path) -> None:
    options = ("--cases", folder, "--runs", tmp_path, "--variants", "no-skip", "--seeds", 0)
    stopped = accuracy(*options, "--minutes", 0.15)
    assert stopped.returncode == UNFINISHED, stopped.stderr
    assert "no-skip 0: not finished" in stopped.stdout
    assert has_checkpoint(checkpoints_of(file_of(tmp_path, "no-skip", 0, "all")))
    assert accuracy(*options, "--minutes", 10).returncode == 0
    assert "0 runs to make" in accuracy(*options).stdout


def test_the_study_needs_no_more_than_it_says() -> None:
    check = (
        "import sys; sys.modules |= dict.fromkeys(('SimpleITK', 'matplotlib', 'nibabel', 'pydicom', 'highdicom', "
        "'tyro', 'rich', 'tqdm', 'tensorboard', 'filelock', 'huggingface_hub')); "
        "import benchmarks.accuracy.__main__, benchmarks.accuracy.causes.__main__"
    )
    done = subprocess.run([sys.executable, "-c", check], cwd=Path(__file__).parents[2], capture_output=True, text=True,
                          check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
