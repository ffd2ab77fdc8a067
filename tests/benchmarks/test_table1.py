"""Table 1, rerun: ten systems, each trained by a command that exists, and tables of what came out."""

import importlib
import json
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from torch.nn.attention import SDPBackend, sdpa_kernel

from benchmarks.table1 import counts, one_cost, tables, testing, training
from benchmarks.table1.budgets import BUDGETS, COMMON_RATE, Run, best_runs, first_runs
from benchmarks.table1.cases import HeldOut, held_out
from benchmarks.table1.collect import best_rate
from ltvs.model.pipeline import NoLiverError
from ltvs.model.systems.registry import NETWORKS, TABLE_1
from ltvs.runtime.errors import InputError
from ltvs.runtime.files import read_json, write_json
from ltvs.volume.images import write_volume
from support.markdown_tables import rows_of
from support.tiny_cases import tiny_case
from support.trained_runs import tiny_set
from support.volume_file_layouts import write_own

study = importlib.import_module("benchmarks.table1.__main__")
TINY = replace(
    BUDGETS["cpu"], grids="--pixels 16 --slice-spacing 8 --liver-pixels 24 --liver-slice-spacing 4", maps=1,
    validation=1, test=1, patch=(8, 16, 16), overlap=(0, 0, 0), steps=2, validations=1, workers=0,
)  # fmt: skip


def test_counts_that_are_settled_are_the_paper_s(capsys, monkeypatch) -> None:
    monkeypatch.setattr(sys, "argv", ["table1", "--counts"])
    assert study.main() == 0
    shown = rows_of(capsys.readouterr().out)
    assert list(shown) == [printed.title for printed in TABLE_1.values()]
    equal = [name for name, row in shown.items() if row["printed, M"] == row["here, M"]]
    assert equal == [printed.title for printed in TABLE_1.values() if printed.settled]
    assert all((row["verdict"] == "equal") == (name in equal) for name, row in shown.items())


def test_a_settled_count_that_differs_fails(capsys, monkeypatch) -> None:
    monkeypatch.setattr(sys, "argv", ["table1", "--counts"])
    other = counts.counted() | {"vnet": 45_500_000}
    monkeypatch.setattr(counts, "counted", lambda: other)
    assert study.main() == 1
    shown = capsys.readouterr()
    assert "missed: 3D V-Net: expected 45.60 M parameters, as printed; got 45,500,000" in shown.err
    assert rows_of(shown.out)["3D V-Net"]["verdict"] == "**differs**"


@pytest.mark.parametrize("size", BUDGETS)
@pytest.mark.parametrize("network", NETWORKS)
def test_the_command_that_trains_a_system(tmp_path: Path, size: str, network) -> None:
    budget, run = BUDGETS[size], Run(network, 3, 3e-4)
    words = training.words_of(run, budget, tmp_path / "data", tmp_path)
    assert words[-3:] == (tmp_path / "data", "--output", tmp_path / run.name)
    settings = training.settings_of(run, budget)
    assert settings.stages() == (2,)
    assert (settings.network, settings.seed, settings.learning_rate) == (network, 3, 3e-4)
    assert (settings.patch, settings.overlap) == (budget.patch, budget.overlap)
    steps = settings.epochs * settings.render * budget.maps // settings.batch_size
    assert steps == budget.real_steps >= max(600, budget.steps)
    assert settings.epochs % settings.validate_every == 0


def test_all_systems_of_a_seed_come_before_the_next() -> None:
    budget = replace(TINY, seeds=(4, 5), rates=(COMMON_RATE, 1e-4))
    runs = list(first_runs(budget))
    assert [(run.seed, run.rate) for run in runs] == [(4, 1e-3)] * 10 + [(5, 1e-3)] * 10 + [(4, 1e-4)] * 10
    assert [run.network for run in runs] == [*NETWORKS] * 3
    best = dict.fromkeys(NETWORKS, COMMON_RATE) | {"vnet": 1e-4}
    assert list(best_runs(budget, best)) == [Run("vnet", 5, 1e-4)]


def test_what_is_compared() -> None:
    labels, reference = np.zeros((2, 3, 4), np.uint8), np.zeros((2, 3, 4), np.uint8)
    reference[0, 0] = 2
    labels[0, 0, :2] = 2
    labels[1] = 1
    found = testing.compared(*map(sitk.GetImageFromArray, (labels, reference)))
    assert found["vessel"] == {"dice": 2 / 3, "iou": 0.5}
    assert found["tumor"] == {"dice": None, "iou": None}


#: A stand-in for train_ltvs.py that says that it has begun, and what it does when it is asked to end.
STAND_IN = """
import pathlib, signal, sys, time
def end(*_):
    pathlib.Path(sys.argv[1], "saved").write_text("saved")
    sys.exit(143)
signal.signal(signal.SIGTERM, end if sys.argv[2] == "saves" else signal.SIG_IGN)
pathlib.Path(sys.argv[1], "begun").touch()
time.sleep(600)
"""


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch) -> Callable[[str], list[subprocess.Popen]]:
    """Start the stand-in instead of a training, and go on once it has begun; return those that were started."""
    started: list[subprocess.Popen] = []

    def begin(kind: str) -> list[subprocess.Popen]:
        monkeypatch.setattr(training, "arguments", lambda *_: [sys.executable, "-c", STAND_IN, str(tmp_path), kind])
        start = subprocess.Popen

        def popen(command: list[str]) -> subprocess.Popen:
            started.append(start(command))
            while not (tmp_path / "begun").exists():
                time.sleep(0.01)
            return started[-1]

        monkeypatch.setattr(training.subprocess, "Popen", popen)
        return started

    return begin


def train_vnet(folder: Path, seconds: float) -> bool:
    return training.train(Run("vnet", 0, 1e-3), TINY, folder, folder, seconds)


def test_a_training_that_is_out_of_time_saves(tmp_path: Path, stand_in) -> None:
    started = stand_in("saves")
    assert not train_vnet(tmp_path, 0.01)
    assert (tmp_path / "saved").read_text() == "saved"
    assert [process.poll() for process in started] == [143]


def test_a_training_that_does_not_end_is_killed(tmp_path: Path, stand_in, monkeypatch) -> None:
    monkeypatch.setattr(training, "GRACE", 0.01)
    started = stand_in("does not")
    assert not train_vnet(tmp_path, 0.01)
    assert [process.poll() for process in started] == [-signal.SIGKILL]


@pytest.mark.parametrize("asked", [KeyboardInterrupt, SystemExit])
def test_a_study_that_is_asked_to_end_leaves_no_training(tmp_path: Path, stand_in, monkeypatch, asked) -> None:
    started = stand_in("saves")
    begin = training.subprocess.Popen

    def begin_and_be_asked(command: list[str]) -> subprocess.Popen:
        process, first = begin(command), [asked]
        wait = process.wait

        def asked_once(seconds: float | None = None) -> int:
            if first:
                raise first.pop()
            return wait(seconds)

        process.wait = asked_once
        return process

    monkeypatch.setattr(training.subprocess, "Popen", begin_and_be_asked)
    with pytest.raises(asked):
        train_vnet(tmp_path, 3600)
    assert (tmp_path / "saved").read_text() == "saved"
    assert [process.poll() for process in started] == [143]


def test_a_training_that_fails_is_said(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(training, "arguments", lambda *_: [sys.executable, "-c", "raise SystemExit(3)"])
    with pytest.raises(InputError, match=r"vnet-seed0-rate0.001: training ended with 3, see above"):
        train_vnet(tmp_path, 60)


def test_a_ct_without_a_liver_ends_the_study(tmp_path: Path, monkeypatch) -> None:
    def none(*_: object, **__: object) -> sitk.Image:
        raise NoLiverError("stage 1 finds no liver in this CT")

    monkeypatch.setattr("benchmarks.table1.cases.find_liver", none)
    with pytest.raises(InputError, match="b: stage 1 finds no liver in this CT"):
        held_out(tiny_set(tmp_path / "data"), [], tmp_path)


def test_scores_are_those_of_the_weights_there_are(trained_run: Path, tmp_path: Path) -> None:
    run, tiny = tmp_path / "run", tiny_case("b")
    shutil.copytree(trained_run, run)
    case = HeldOut("b", False, *(tmp_path / f"{part}.nii.gz" for part in ("ct", "labels", "liver")))
    for image, file in ((tiny.ct, case.ct), (tiny.liver, case.reference), (tiny.liver, case.liver)):
        write_volume(image, file)
    assert testing.scores_of_run(run, [case]) is None
    assert not testing.score(run, [case], time.monotonic() - 1), "the time is up"
    assert testing.scores_of_run(run, [case]) is None
    assert testing.score(run, [case], time.monotonic() + 600)
    scores = testing.scores_of_run(run, [case])
    assert scores is not None
    assert set(scores["b"]) == {"real", "tumor", "vessel"}
    assert testing.prediction_file(run, "b").is_file()
    before = (run / "scores.json").stat().st_mtime_ns
    assert testing.score(run, [case], time.monotonic() - 1), "nothing is left to do"
    assert (run / "scores.json").stat().st_mtime_ns == before
    result = read_json(run / "stage2" / "result.json")
    write_json(run / "stage2" / "result.json", result | {"weights": "others"})
    assert testing.scores_of_run(run, [case]) is None
    assert not testing.score(run, [case], time.monotonic() - 1)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "expected --counts, or --output DIR for the study; got neither"),
        (
            ("--output", "o", "--cohort", "msd08", "x"),
            r"real CTs with labeled livers \(ircadb, crlm, ltvs\); got msd08",
        ),
        (("--output", "o", "--cohort", "prepared", "x"), "real CTs with labeled livers .*; got prepared"),
        (("--output", "o", "--networks", "unet"), "invalid choice: 'unet'"),
        (("--output", "o", "--size", "tpu"), "invalid choice: 'tpu'"),
        (("--output", "o", "--size", "gpu"), "--size gpu: expected a GPU, .*; got none; give --size cpu"),
    ],
)
def test_what_cannot_be_is_said(words: tuple, message: str, monkeypatch, capsys) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["table1", *words])
    with pytest.raises(SystemExit, match="2"):
        study.main()
    assert re.search(message, capsys.readouterr().err)


@pytest.mark.slow
def test_a_study_is_made_resumed_and_kept(tmp_path: Path, monkeypatch, capsys) -> None:
    """Of two seeds and two rates: the seed that is left is trained at each system's best rate, too."""
    monkeypatch.setitem(study.BUDGETS, "cpu", replace(TINY, seeds=(0, 1), rates=(COMMON_RATE, 1e-2)))
    # Costs are measured by processes of their own, which know nothing of the tiny budget.
    monkeypatch.setattr(study, "measured", lambda *_: {})
    write_own(tmp_path / "cohort" / "a", tiny_case("a"))
    body = "benchmarks.table1.cases.find_liver"
    monkeypatch.setattr(body, lambda ct, *_, **__: sitk.Cast(ct > -1000, sitk.sitkUInt8))
    words = ["--output", tmp_path / "out", "--networks", "unet2d", "ucanet", "--json", tmp_path / "report.json"]
    words += ["--cohort", "ltvs", tmp_path / "cohort"]
    monkeypatch.setattr(sys, "argv", ["table1", *map(str, words), "--minutes", "0"])
    assert study.main() == 75
    assert json.loads((tmp_path / "report.json").read_text())["runs"] == []
    monkeypatch.setattr(sys, "argv", ["table1", *map(str, words)])
    assert study.main() == 0
    made = json.loads((tmp_path / "report.json").read_text())
    common = {(network, seed, COMMON_RATE) for network in ("unet2d", "ucanet") for seed in (0, 1)}
    better = {(network, 0, 1e-2) for network in ("unet2d", "ucanet")}
    best = {(network, 1, 1e-2) for network in ("unet2d", "ucanet") if best_rate(made, network) == 1e-2}
    assert {(run["network"], run["seed"], run["rate"]) for run in made["runs"]} == common | better | best
    for run in made["runs"]:
        assert sorted(of["real"] for of in run["cases"].values()) == [False, True]
    assert tables.text(made) in capsys.readouterr().out
    kept = tmp_path / "out" / "ucanet-seed0-rate0.001" / "scores.json"
    before = kept.stat().st_mtime_ns
    assert study.main() == 0
    assert kept.stat().st_mtime_ns == before


@pytest.mark.slow
def test_costs_are_measured_in_processes_of_their_own(trained_run: Path, tmp_path: Path) -> None:
    from benchmarks.table1.costs import measured

    tiny = tiny_case("b")
    case = HeldOut("b", False, *(tmp_path / f"{part}.nii.gz" for part in ("ct", "labels", "liver")))
    write_volume(tiny.ct, case.ct)
    write_volume(tiny.liver, case.liver)
    run = Run("ucanet", 0, 1e-3)
    (tmp_path / run.name).symlink_to(trained_run)
    found = measured(run, "cpu", case, tmp_path)
    assert found["parameters"] == 5_905_452
    assert found.pop("made_with")["versions"]["torch"]
    assert set(found) == {"parameters", "flops", "step_seconds", "step_bytes", "ct_seconds", "ct_bytes"}
    assert min(found.values()) > 0
    assert found["step_bytes"] > 2**29 > 0
    again = measured(run, "cpu", case, tmp_path)
    assert again.items() >= found.items()


@pytest.mark.slow
def test_flops_of_an_attention_are_counted() -> None:
    """Of TransUnet's: 12 blocks of two products of 9 x 9 tokens of 768 channels, for each of 16 slices."""
    counted = []
    for made_of in (SDPBackend.MATH, SDPBackend.FLASH_ATTENTION):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(one_cost, "sdpa_kernel", lambda *_, backend=made_of: sdpa_kernel(backend))
            counted.append(one_cost.of_step("transunet", BUDGETS["cpu"])["flops"])
    assert counted[0] - counted[1] == 16 * 12 * 2 * 2 * 9 * 9 * 768
