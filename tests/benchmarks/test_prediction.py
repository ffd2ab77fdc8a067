"""The benchmark of whole predictions: both sides do the work, long CTs are what they should be, bounds are compared."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch

import ltvs.model.pipeline
from benchmarks import ROOT
from benchmarks.child_process import peak_and_output
from benchmarks.pages import replaced
from benchmarks.prediction import __main__ as command
from benchmarks.prediction import measure, monai_calls, one_run, own_calls, patches, tables
from benchmarks.prediction.long_ct import write_long_ct
from benchmarks.prediction.work import Size, Work, unpacked_work
from ltvs.model.inference import predict_probabilities
from ltvs.model.stage_view import StageGrid
from ltvs.runtime.errors import InputError
from ltvs.volume.images import read_ct, read_labels, same_grid
from support.ircadb_layout import write_series, write_usual, zipped
from support.small_prediction import SMALL
from support.tiny_cases import array, tiny_case


@pytest.fixture
def work(tmp_path: Path):
    patient = zipped(write_usual(tmp_path / "3Dircadb1.17"), "3Dircadb1.17/")
    (tmp_path / "work").mkdir()
    with unpacked_work(patient, tmp_path / "work", SMALL) as (name, found):
        assert name == "ircadb-17"
        yield found


@pytest.fixture
def report() -> dict:
    """A report in which every bound is kept."""
    seconds = {
        ("ours", "32"): 40.0,
        ("monai", "32"): 100.0,
        ("ours", "bf16-mixed"): 20.0,
        ("monai", "bf16-mixed"): 50.0,
    }
    rows = [
        {
            "side": side,
            "precision": precision,
            "seconds": whole,
            "processor_seconds": 2 * whole,
            "network_seconds": 0.85 * whole,
            "peak_bytes": 1.5e9 if side == "ours" else 4e9,
        }
        for (side, precision), whole in seconds.items()
    ]
    long = [
        {"slices": n, "size": f"512x512x{n}", "seconds": n / 20, "peak_bytes": 1e9 + n * 1e6} for n in measure.SLICES
    ]
    about = {"name": "a CPU", "threads": 2, "versions": {"torch": "2.13.0", "triton": None}, "commit": "abc"}
    return {
        "case": "ircadb-17",
        "automatic": "bf16-mixed",
        "runs": rows,
        "long": long,
        "machine": about,
        "run_seconds": 600.0,
    }


@pytest.mark.parametrize("side", [own_calls, monai_calls], ids=["ours", "monai"])
@pytest.mark.parametrize("precision", measure.PRECISIONS)
def test_each_side_labels_the_given_liver(
    side, precision: str, work: Work, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Which the benchmark replaces in its own process; here it has to come back.
    monkeypatch.setattr(ltvs.model.pipeline, "predict_probabilities", predict_probabilities)
    output = tmp_path / "labels.nii.gz"
    label, spent = side.prepare_to_label(work.json(), precision, output)
    assert spent == {"networks": 0.0}
    label()
    ct, labels = tiny_case().ct, read_labels(output)
    assert same_grid(labels, ct)
    np.testing.assert_array_equal(array(labels) > 0, array(tiny_case().liver) | array(tiny_case().tumor) > 0)
    assert spent["networks"] > 0


def test_both_sides_see_the_grids_of_the_pipeline(work: Work) -> None:
    assert Work.from_json(json.loads(json.dumps(work.json()))) == work
    ct, liver = read_ct(work.ct), sitk.ReadImage(work.liver)
    assert work.grids == {stage: SMALL.preparation.view(stage).grid(ct, liver) for stage in (1, 2)}
    assert work.grids[1].size[:2] == (32, 32)


def test_one_run_prints_what_it_took(work: Work, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr(sys, "argv", ["one_run", "monai", "32", json.dumps(work.json())])
    assert one_run.main() == 0
    row = json.loads(capsys.readouterr().out)
    assert row["seconds"] > row["network_seconds"] > 0
    assert row["processor_seconds"] > 0


def test_a_long_ct_goes_up_and_down(tmp_path: Path) -> None:
    ct = tiny_case().ct
    write_series(tmp_path / "series", ct, upwards=False)
    slices = array(ct)
    count = 2 * len(slices) + 5
    long = read_ct(write_long_ct(tmp_path / "series", count, tmp_path / "long"))
    assert long.GetSpacing() == pytest.approx(ct.GetSpacing(), abs=1e-4)
    assert long.GetOrigin() == pytest.approx(ct.GetOrigin(), abs=1e-3)
    np.testing.assert_array_equal(array(long), np.concatenate([slices, slices[::-1], slices[:5]]))


def test_a_process_that_fails(tmp_path: Path) -> None:
    code = "import sys; print('lost'); sys.exit('error: no such CT')"
    with pytest.raises(InputError, match=r"^that script failed: no such CT$"):
        peak_and_output("that script", ["-c", code])


def test_a_process_starts_where_its_paths_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From any folder: relative paths are the caller's, and our modules are found all the same."""
    monkeypatch.chdir(tmp_path)
    code = "import os, benchmarks; print(os.getcwd(), benchmarks.__file__)"
    _, printed = peak_and_output("that script", ["-c", code])
    assert printed.split() == [str(tmp_path), str(ROOT / "benchmarks" / "__init__.py")]


def test_a_process_is_weighed_alone() -> None:
    held = np.ones(5 * 10**8, dtype=np.uint8)
    peak, printed = peak_and_output("that script", ["-c", "b = b'1' * 10**8; print(len(b))"])
    assert printed == "100000000\n"
    # An interpreter has some tens of MB. Started from here directly, it would be counted from the size of this process.
    assert 1e8 < peak < 2e8 < held.nbytes


def test_bounds_that_hold(report: dict) -> None:
    assert tables.missed(report) == []
    assert len(tables.bounds(report)) == 8
    assert "**no**" not in tables.text(report)


OVER = "this pipeline / MONAI"
TIME, DEFAULT = f"time, {OVER}, both in 32: ", f"time, {OVER}, default precisions (bf16-mixed and 32): "
MOST = "expected at most"
OUTSIDE, MEMORY = "share of the time outside the networks, in 32: ", f"peak memory, {OVER}, both in bf16-mixed: "


@pytest.mark.parametrize(
    ("side", "precision", "name", "value", "messages"),
    [
        ("ours", "32", "seconds", 46.0, [f"{TIME}0.46, {MOST} 0.45", f"{OUTSIDE}0.26, {MOST} 0.2"]),
        ("ours", "bf16-mixed", "peak_bytes", 2.1e9, [f"{MEMORY}0.53, {MOST} 0.5"]),
        ("monai", "32", "seconds", 79.0, [f"{TIME}0.51, {MOST} 0.45", f"{DEFAULT}0.25, {MOST} 0.25"]),
    ],
)
def test_bounds_that_are_missed(
    report: dict, side: str, precision: str, name: str, value: float, messages: list[str]
) -> None:
    (row,) = (row for row in report["runs"] if (row["side"], row["precision"]) == (side, precision))
    row[name] = value
    found = tables.missed(report)
    assert found == messages
    assert tables.text(report).count("**no**") == len(messages)


def test_a_long_ct_that_needs_too_much(report: dict) -> None:
    report["long"][1]["peak_bytes"] = report["long"][0]["peak_bytes"] + 1.01e9
    assert tables.missed(report) == ["peak memory of 1000 slices minus that of 200, GB: 1.01, expected at most 1"]


def test_several_rounds_give_medians_and_the_highest_peak(report: dict) -> None:
    slow = [{**row, "seconds": 5 * row["seconds"], "peak_bytes": 1.1 * row["peak_bytes"]} for row in report["runs"]]
    before = {name: value for name, value, _ in tables.bounds(report)}
    report["runs"] += [*slow, *(dict(row) for row in report["runs"])]
    assert {name: value for name, value, _ in tables.bounds(report)} == pytest.approx(before)
    assert "| 4.40 |" in tables.text(report)


def test_a_part_that_was_left_out(report: dict) -> None:
    assert len(tables.bounds({**report, "long": []})) == 7
    assert len(tables.bounds({**report, "runs": []})) == 1
    assert tables.missed({**report, "runs": []}) == []


@pytest.mark.parametrize("words", [[], ["--check"]])
def test_the_exit_status(
    report: dict, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    report["long"][1]["peak_bytes"] = 4e9
    monkeypatch.setattr(command, "measured", lambda *_: report)
    written = tmp_path / "out.json"
    monkeypatch.setattr(sys, "argv", ["prediction", "--input", str(tmp_path), "--json", str(written), *words])
    assert command.main() == len(words)
    assert json.loads(written.read_text()) == report
    said = capsys.readouterr()
    assert said.err == "missed: peak memory of 1000 slices minus that of 200, GB: 2.80, expected at most 1\n"
    assert "| this pipeline | 32 | 40.0 | 34.0 | 80.0 | 1.50 |" in said.out


def test_an_input_that_is_no_patient(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr(sys, "argv", ["prediction", "--input", str(tmp_path)])
    assert command.main() == 2
    assert "no 3D-IRCADb patient here" in capsys.readouterr().err


def test_the_paper_is_the_default() -> None:
    size = Size()
    assert (size.patch, size.overlap, size.channels) == ((32, 320, 320), (16, 0, 0), (32, 64, 128, 256))
    assert size.preparation.stage1 == size.preparation.stage2 == StageGrid(320, 1.0)
    assert replace(size, channels=(1,)) != size


def test_the_docs_show_the_results() -> None:
    page = tables.PAGE.read_text()
    assert replaced(page, tables.MAKER, tables.text(json.loads(tables.RESULT.read_text()))) == page


@pytest.mark.slow
def test_processes_are_measured(work: Work) -> None:
    rows = measure.both_sides(work, 1)
    assert [(row["side"], row["precision"]) for row in rows] == [
        (side, precision) for precision in measure.PRECISIONS for side in one_run.SIDES
    ]
    assert all(0 < row["network_seconds"] < row["seconds"] and 1e8 < row["peak_bytes"] < 8e9 for row in rows)


def test_patches_are_timed_on_all_sides(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    """With the same logits, in C++ and without."""
    monkeypatch.setattr(patches, "SIZE", replace(SMALL, channels=(32, 64), features=(32, 32, 64, 64, 64, 32)))
    for stage in patches.FILLED:
        (_, ours), (_, direct) = (parts[0] for parts in (call() for call in patches.calls_of(stage)[:2]))
        torch.testing.assert_close(ours, direct, rtol=1e-4, atol=1e-5)
    monkeypatch.setattr(sys, "argv", ["patches", "--rounds", "1"])
    patches.main()
    assert [line.split(" ")[1] for line in capsys.readouterr().out.splitlines()[2:]] == ["stage", "stage", "both"]
