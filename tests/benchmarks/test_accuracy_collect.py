"""Runs of the accuracy study become one file: what is kept, compared, added, and refused."""

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.accuracy import collect, run_files
from support.study_runs import CASES, MACHINE, TASK, made_run, write_runs


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    return write_runs(tmp_path / "runs")


@pytest.fixture
def whole(runs: Path) -> dict:
    return json.loads(collect.text(collect.study(run_files.read([runs]))))


def collected(monkeypatch: pytest.MonkeyPatch, *folders: Path, to: Path) -> int:
    monkeypatch.setattr(sys, "argv", ["collect", "--runs", *map(str, folders), "--json", str(to)])
    return collect.main()


def test_runs_are_collected(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    written = tmp_path / "results" / "cpu.json"
    assert collected(monkeypatch, runs, to=written) == 0
    assert "8 runs" in capsys.readouterr().out
    whole = json.loads(written.read_text())
    assert whole["cases"] == ["3dircadb-2", "3dircadb-10", "plain-0001", "plain-0002", "plain-0010"]
    assert (whole["task"], whole["machines"]) == (TASK, [MACHINE])
    assert [path.name for path in written.parent.iterdir()] == ["cpu.json"]
    first = whole["runs"][0]
    assert (first["variant"], first["seed"], first["machine"], first["finite"]) == ("concat", 0, 0, True)
    np.testing.assert_allclose(first["scores"]["1"]["vessel"]["dice"], [0.504, 0.506, 0.508, 0.5, 0.502])
    assert first["scores"]["1"]["tumor"]["dice"] == [0.252, None, 0.254, 0.25, 0.251]
    assert first["scores"]["0.25"]["vessel"] == {"dice": [None, None, None, 0.4, 0.402]}
    instance = next(run for run in whole["runs"] if run["variant"] == "instance")
    assert instance["probes"]["16x48x48"][0]["slices"] == {"spread": 12350, "entropy": 0.25}


def test_all_pairs_with_a_seed_in_common_are_compared(whole: dict) -> None:
    rows = whole["comparisons"]
    assert {(row["a"], row["b"]) for row in rows} == {("concat", "instance"), ("concat", "mean"), ("instance", "mean")}
    what = [(row["class"], row["score"], row["on"], row["cases"]) for row in rows if row["b"] == "instance"]
    tumor = [("tumor", "dice", "all", 4), ("tumor", "dice", "plain", 3)]
    assert what == [("vessel", "dice", "all", 5), ("vessel", "dice", "plain", 3), *tumor]
    first, second, third = rows[:3]
    assert (first["seeds"], first["difference"], first["size"], first["data"]) == (2, -0.1, "1", "all")
    assert first["interval_cases"] == first["interval"] == [-0.1, -0.1]
    # Five cases that all lose: 2 of 32; the least of three times three, as are the others.
    assert (first["p"], first["p_holm"], first["rank_biserial"]) == (0.0625, 0.1875, -1)
    assert (second["seeds"], second["difference"], second["interval"]) == (1, 0.1, None)
    assert third["difference"] == 0.2


def test_data_are_never_compared_with_each_other(runs: Path, tmp_path: Path) -> None:
    other = tmp_path / "plain"
    other.mkdir()
    for variant in ("concat", "cosine"):
        run = made_run(variant, 0, 0.5, data="plain", machine=MACHINE | {"commit": "def"})
        (other / f"{variant}-0.json").write_text(json.dumps(run))
    whole = collect.study(run_files.read([runs, other]))
    pairs = {(row["a"], row["b"]) for row in whole["comparisons"] if row["data"] == "plain"}
    assert pairs == {("concat", "cosine")}
    assert not any("cosine" in (row["a"], row["b"]) for row in whole["comparisons"] if row["data"] == "all")
    assert [found["commit"] for found in whole["machines"]] == ["abc", "def"]
    assert [run["machine"] for run in whole["runs"]] == [0] * 8 + [1, 1]


def split(runs: Path, first: Path, second: Path) -> None:
    """The runs of `concat` and the others, one that is in both with other scores at first."""
    for folder in (first, second):
        folder.mkdir()
    for file in runs.iterdir():
        run = json.loads(file.read_text())
        (first if run["variant"] == "concat" else second).joinpath(file.name).write_text(file.read_text())
        if (run["variant"], run["seed"]) == ("instance", 0):
            (first / file.name).write_text(json.dumps(made_run("instance", 0, 0.1)))


def test_runs_are_added_to_an_earlier_study(
    runs: Path, whole: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, earlier, later = (tmp_path / name for name in ("first", "second", "earlier.json", "later.json"))
    split(runs, first, second)
    assert collected(monkeypatch, first, to=earlier) == 0
    monkeypatch.setattr(sys, "argv", ["collect", "--runs", str(second), "--add-to", str(earlier), "--json", str(later)])
    assert collect.main() == 0
    found = json.loads(later.read_text())

    def of(rows: list[dict]) -> list[str]:
        return sorted(json.dumps(row, sort_keys=True) for row in rows)

    assert of(found["runs"]) == of(whole["runs"])
    assert of(found["comparisons"]) == of(whole["comparisons"])
    assert (found["task"], found["cases"], found["machines"]) == (whole["task"], whole["cases"], whole["machines"])


@pytest.mark.parametrize("what", ["task", "cases"])
def test_other_tasks_and_cases_are_not_joined(whole: dict, what: str) -> None:
    with pytest.raises(ValueError, match=f"collect: expected studies of the same {what}; got different ones"):
        collect.joined(whole | {what: []}, whole)


@pytest.mark.parametrize(("content", "message"), [("{", "got Expecting"), ("[]", "got other JSON")])
def test_a_wrong_earlier_study_is_named(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys, content: str, message: str
) -> None:
    earlier, out = tmp_path / "earlier.json", tmp_path / "out.json"
    earlier.write_text(content)
    monkeypatch.setattr(sys, "argv", ["collect", "--runs", str(runs), "--add-to", str(earlier), "--json", str(out)])
    assert collect.main() == 1
    said = capsys.readouterr().err
    assert re.search(rf"earlier\.json: expected a study as this command writes it; {message}", said)
    assert len(said.strip().splitlines()) == 1
    assert not out.exists()


def test_a_large_study_is_a_small_file() -> None:
    cases = [f"plain-{number:04d}" for number in range(12)] + [f"3dircadb-{number}" for number in range(19)]
    rng = np.random.default_rng(0)

    def scores() -> dict:
        names = ("dice", "iou", "cldice")
        return {case: {label: dict(zip(names, rng.random(3), strict=True)) for label in ("vessel", "tumor")}
                for case in cases}  # fmt: skip

    runs = [
        made_run(f"variant {n // 2}", n % 2, 0.5, scores={"0.25": scores(), "1": scores(), "4": scores()})
        for n in range(10)
    ]
    lines = collect.text(collect.study(runs)).splitlines()
    of_runs = [len(line) for line in lines if line.startswith('{"variant"')]
    of_pairs = [len(line) for line in lines if line.startswith('{"data"')]
    assert (len(of_runs), len(of_pairs)) == (10, 10 * 4)
    # 100 runs of 20 variants, all pairs of which are compared in 4 ways.
    assert 100 * max(of_runs) + 190 * 4 * max(of_pairs) < 1_000_000


def broken(runs: Path, **changes: object) -> None:
    path = runs / "mean-0.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def nested(runs: Path, *keys: str | int, value: object) -> None:
    path = runs / "mean-0.json"
    run = inner = json.loads(path.read_text())
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = value
    path.write_text(json.dumps(run))


WRONG = {
    "truncated": (lambda runs: (runs / "mean-0.json").write_text('{"variant": "me'), "expected JSON .*damaged"),
    "binary": (lambda runs: (runs / "mean-0.json").write_bytes(b"\xff\xfe\x00"), "expected JSON .*damaged"),
    "deep": (lambda runs: (runs / "mean-0.json").write_text("[" * 200_000), "expected JSON .*damaged"),
    "list": (lambda runs: (runs / "mean-0.json").write_text("[1]"), "expected an object, got list"),
    "foreign": (lambda runs: (runs / "mean-0.json").write_text('{"loss": 1}'), "not a run of this .* no 'variant'"),
    "kind": (lambda runs: broken(runs, seed="0"), "expected 'seed' to be int, got '0'"),
    "bool": (lambda runs: broken(runs, seed=True), "expected 'seed' to be int, got True"),
    "null": (lambda runs: broken(runs, finite=None), "expected 'finite' to be bool, got None"),
    "time": (lambda runs: broken(runs, seconds_per_step="x"), "'seconds_per_step' to be int or float or null, got 'x'"),
    "data": (lambda runs: broken(runs, data="some"), "expected 'data' to be one of all, plain, got 'some'"),
    "empty": (lambda runs: broken(runs, scores={}), "expected scores at size '1' of a run that did not fail, got none"),
    "task": (lambda runs: broken(runs, task=TASK | {"steps": 9}), "not the task of .*, 'steps' is 9, not 250"),
    "task, more": (lambda runs: broken(runs, task=TASK | {"lr": None}), "'lr' is None, not missing; collect each task"),
    "twice": (lambda runs: broken(runs, variant="concat"), "the same variant, data and seed as .*concat-0"),
    "by case": (lambda runs: nested(runs, "scores", "1", value=[1]), r"scores at size 1 to be an object, got \[1\]"),
    "by class": (lambda runs: nested(runs, "scores", "1", CASES[0], value=1), "plain-0002 to be an object, got 1"),
    "by name": (
        lambda runs: nested(runs, "scores", "1", CASES[0], "vessel", value=0.5),
        "vessel of plain-0002 to be an object, got 0.5",
    ),
    "percent": (
        lambda runs: nested(runs, "scores", "1", CASES[0], "vessel", "dice", value=61.5),
        "dice of vessel in plain-0002 at size 1 to be 0 to 1 or null, got 61.5",
    ),
    "levels": (lambda runs: nested(runs, "probes", "16x48x48", value={}), "probes at 16x48x48 to be a list of levels"),
    "half": (lambda runs: nested(runs, "probes", "16x48x48", 0, value=3), "probes at 16x48x48 to be an object, got 3"),
    "entropy": (
        lambda runs: nested(runs, "probes", "16x48x48", 0, "channel", "entropy", value="high"),
        "entropy of channel at 16x48x48 to be a number or null, got 'high'",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_file_is_named(
    name: str, runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil, message = WRONG[name]
    spoil(runs)
    with pytest.raises(ValueError, match=rf"mean-0\.json: .*{message}"):
        run_files.read([runs])
    assert collected(monkeypatch, runs, to=tmp_path / "out.json") == 1
    said = capsys.readouterr().err
    assert re.search(message, said)
    assert said.count("\n") == 1
    assert not (tmp_path / "out.json").exists()


def test_a_folder_without_runs(runs: Path, tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"nowhere: expected runs, <variant>-<seed>\.json, got none; run the benchmark"
    ):
        run_files.read([runs, tmp_path / "nowhere"])
