"""The accuracy study's report: statistics, the collected study, tables and plot, from runs that are made up."""

import json
import re
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from benchmarks import marks
from benchmarks.accuracy import collect, figure, reading, tables
from benchmarks.accuracy.statistics import (
    compare,
    differences,
    holm,
    interval,
    interval_cases,
    mean_sd,
    rank_biserial,
    seed_means,
    signed_rank,
)

NAN = float("nan")
RATE = 0.05


# Statistics


def test_mean_and_deviation_are_over_seeds() -> None:
    scores = np.array([[0.2, 0.4, NAN], [0.6, 0.8, 0.4], [NAN, NAN, NAN]])
    np.testing.assert_allclose(seed_means(scores), [0.3, 0.6, NAN])
    np.testing.assert_allclose(mean_sd(scores), (0.45, np.sqrt(2 * 0.15**2)))
    assert mean_sd(scores[:1])[0] == pytest.approx(0.3)
    assert np.isnan(mean_sd(scores[:1])[1]), "one seed has no deviation"
    assert np.isnan(mean_sd(scores[2:])).all()
    assert np.isnan(mean_sd(np.empty((0, 3)))).all()


def test_a_comparison_by_hand() -> None:
    a = np.array([[0.5, 0.6, 0.9, 0.3, 0.4], [0.7, 0.4, 0.9, 0.3, NAN]])
    b = np.array([[0.3, 0.6, 0.8, 0.7, 0.1], [0.3, 0.5, 0.8, 0.7, 0.1]])
    found = compare(a, b)
    # By case: +0.3, -0.05, +0.1, -0.4; the last has no value with seed 1. Ranks of their sizes: 3, 1, 2, 4.
    assert (found.seeds, found.cases) == (2, 4)
    assert found.difference == pytest.approx(-0.05 / 4)
    assert found.rank_biserial == pytest.approx((3 + 2 - 1 - 4) / 10)
    # R+ = 5 of 10 is the middle of its distribution.
    assert found.p == 1
    # Of 5 cases that all gain, 2 of the 32 choices of signs are as extreme.
    assert signed_rank(np.array([0.1, 0.2, 0.3, 0.4, 0.5])) == pytest.approx(2 / 32)


def test_the_test_over_cases_is_scipys() -> None:
    rng = np.random.default_rng(0)
    for cases in (4, 9, 13, 31, 60):
        for tied in (False, True):
            by_case = rng.normal(0.02, 0.05, cases)
            by_case = np.round(by_case, 1 if tied else 6)
            moved = by_case[by_case != 0]
            assert signed_rank(by_case) == pytest.approx(stats.wilcoxon(moved).pvalue), (cases, tied)


def test_the_interval_over_seeds_and_cases_by_hand() -> None:
    both = np.array([[0.1, 0.4, 0.1], [0.3, 0.6, 0.6]])
    # Means of seeds 0.2, 0.5; of cases 0.2, 0.5, 0.35; rest +-0.05, +-0.05, -+0.1.
    s, c, e = 3 * 0.045, 2 * 0.0225, 0.03 / 2
    total = s - e + c
    freedom = total**2 / (s**2 / 1 + c**2 / 2 + e**2 / 2)
    reach = stats.t.ppf(0.975, freedom) * np.sqrt(total / 6)
    np.testing.assert_allclose(interval(both), (0.35 - reach, 0.35 + reach))
    # Seeds that do not differ add nothing: what is left is the t interval over cases.
    same = both[:1].repeat(2, axis=0)
    over_cases = stats.t.interval(0.95, 2, both[0].mean(), stats.sem(both[0]))
    np.testing.assert_allclose(interval(same), over_cases)
    assert np.isnan(interval(both[:1])).all(), "one seed says nothing about others"
    assert np.isnan(interval(both[:, :1])).all()
    assert np.isnan(interval_cases(both[0, :1])).all()


@given(
    arrays(np.float64, (2, 3, 7), elements=st.integers(0, 10_000).map(lambda n: n / 10_000)),
    st.sets(st.integers(0, 6), max_size=5),
)
def test_swapped_variants_and_cases_without_a_value(scores: np.ndarray, missing: set[int]) -> None:
    a, b = scores
    one, other = compare(a, b, resamples=200), compare(b, a, resamples=200)
    assert other.difference == -one.difference
    assert other.rank_biserial == pytest.approx(-one.rank_biserial)
    assert other.p == pytest.approx(one.p)
    np.testing.assert_allclose(other.interval, (-one.interval[1], -one.interval[0]), atol=1e-12)
    # Draws are the same, percentiles from the other end.
    np.testing.assert_allclose(other.interval_cases, (-one.interval_cases[1], -one.interval_cases[0]), atol=1e-12)
    gone = a.copy()
    gone[1, list(missing)] = NAN
    kept = [case for case in range(7) if case not in missing]
    assert compare(gone, b, resamples=200) == compare(a[:, kept], b[:, kept], resamples=200)


def test_identical_variants() -> None:
    a = np.random.default_rng(0).random((3, 8))
    found = compare(a, a)
    assert (found.difference, found.p, found.rank_biserial) == (0, 1, 0)
    assert found.interval == found.interval_cases == (0, 0)
    # 0.1 + 0.2 + 0.3 is not 0.3 + 0.2 + 0.1 to a computer, but the means are equal.
    turned = compare(np.array([[0.1] * 5, [0.2] * 5, [0.3] * 5]), np.array([[0.3] * 5, [0.2] * 5, [0.1] * 5]))
    assert (turned.difference, turned.p, turned.rank_biserial) == (0, 1, 0)


def test_a_planted_effect_is_found() -> None:
    rng = np.random.default_rng(0)
    cases = rng.normal(0.6, 0.1, 31)
    b = cases + rng.normal(0, 0.03, (5, 31)) + rng.normal(0, 0.02, (5, 1))
    a = cases + 0.1 + rng.normal(0, 0.03, (5, 31)) + rng.normal(0, 0.02, (5, 1))
    found = compare(a, b)
    assert found.difference == pytest.approx(0.1, abs=0.04)
    assert found.p < 1e-6
    assert found.rank_biserial > 0.95
    assert 0 < found.interval_cases[0] < found.interval_cases[1]
    assert 0 < found.interval[0] < found.interval_cases[0] < found.interval_cases[1] < found.interval[1]


@pytest.mark.parametrize(("seeds", "by_seed", "worst"), [(3, 0.0, RATE), (3, 1.0, 0.08), (5, 1.0, 0.06)])
def test_without_an_effect_one_interval_in_twenty_misses_0(seeds: int, by_seed: float, worst: float) -> None:
    rng = np.random.default_rng(1)
    studies, cases = 500, 20
    missed = {"seeds and cases": 0, "cases": 0}
    for _ in range(studies):
        both = rng.normal(0, 1, cases) + rng.normal(0, 1, (seeds, cases)) + by_seed * rng.normal(0, 1, (seeds, 1))
        for name, (low, high) in {
            "seeds and cases": interval(both),
            "cases": interval_cases(both.mean(axis=0), 2000),
        }.items():
            missed[name] += not low <= 0 <= high
    # What an interval misses is binomial: 1 in 1000 sets of studies passes these bounds. With few seeds it misses a bit
    # more than the 5% that are claimed, as its docstring says.
    low, high = stats.binom.ppf([0.0005, 0.9995], studies, [RATE, worst])
    assert low <= missed["seeds and cases"] <= high
    if by_seed:
        assert missed["cases"] > 2 * high, "an interval over cases knows nothing of other seeds"
    else:
        assert low <= missed["cases"] <= high


@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm(p: list[float]) -> None:
    np.testing.assert_allclose(holm(np.array([0.01, 0.04, 0.03, 0.005])), [0.03, 0.06, 0.06, 0.02])
    found = holm(np.array(p))
    assert ((np.array(p) <= found) & (found <= 1)).all()
    # By its definition: rejecting in order until the first that is not below level / (number left).
    for level in (0.01, 0.05, 0.5):
        rejected, order = set(), np.argsort(p, kind="stable")
        for step, index in enumerate(order):
            if p[index] * (len(p) - step) > level:
                break
            rejected.add(index)
        assert set(np.flatnonzero(found <= level)) == rejected


def test_comparisons_that_cannot_be_made() -> None:
    with pytest.raises(ValueError, match=r"differences: expected .* same \(seeds, cases\), got \(2, 3\) and \(2, 4\)"):
        differences(np.zeros((2, 3)), np.zeros((2, 4)))
    with pytest.raises(ValueError, match="compare: of 3 cases and 2 seeds none has a value in both variants"):
        compare(np.full((2, 3), NAN), np.zeros((2, 3)))
    assert rank_biserial(np.array([])) == 0


# Runs and the study

CASES = ["plain-0002", "plain-0010", "3dircadb-2", "3dircadb-10", "plain-0001"]
TASK = {"patch": [16, 48, 48], "steps": 250, "widths": [8, 16]}
MACHINE = {"device": "cpu", "name": "C", "threads": 2, "commit": "abc", "versions": {"torch": "2.13.0"}}


def made_run(variant: str, seed: int, base: float, **changes: object) -> dict:
    """A run whose vessel Dice is `base` and its seed's hundredth, and a little more from case to case."""

    def of(case: int, loss: float) -> dict:
        dice = base + seed / 100 + case / 500 - loss
        tumor = (
            {"dice": None, "iou": None, "cldice": None} if case == 3 else {"dice": dice / 2, "iou": 0.1, "cldice": 0}
        )
        return {"vessel": {"dice": dice, "iou": dice / (2 - dice), "cldice": 1 - dice}, "tumor": tumor}

    level = {"channel": {"spread": 0.5, "entropy": 0.9}, "slices": {"spread": 12345.678, "entropy": 0.25}}
    return {
        "variant": variant,
        "data": "all",
        "seed": seed,
        "task": TASK,
        "parameters": 123456,
        "seconds_per_step": 0.25,
        "peak_memory_mib": 812.4,
        "losses": [[20, 1.5], [40, 1.25]],
        "finite": True,
        "scores": {
            "1": {name: of(number, 0) for number, name in enumerate(CASES)},
            "0.25": {name: of(number, 0.1) for number, name in enumerate(CASES[:2])},
        },
        "probes": {"16x96x96": [level, {"channel": {"spread": 1, "entropy": 0.75}}], "16x48x48": [level, level]},
        "machine": MACHINE,
    } | changes


def failed_run(variant: str, seed: int) -> dict:
    return made_run(variant, seed, 0.1, finite=False, scores={}, probes={}, losses=[[20, NAN]])


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    folder = tmp_path / "runs"
    folder.mkdir()
    for run in [
        *(made_run("concat", seed, 0.5, probes={}, seconds_per_step=0.5) for seed in (0, 1, 2)),
        *(made_run("instance", seed, 0.6) for seed in (0, 1)),
        made_run("mean", 0, 0.4),
        failed_run("mean", 1),
        failed_run("none", 0),
    ]:
        (folder / f"{run['variant']}-{run['seed']}.json").write_text(json.dumps(run))
    return folder


@pytest.fixture
def whole(runs: Path) -> dict:
    return json.loads(collect.text(collect.study(reading.read([runs]))))


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
    assert what == [("vessel", "dice", "all", 5), ("vessel", "dice", "plain", 3), *tumor,
                    ("vessel", "cldice", "all", 5), ("vessel", "cldice", "plain", 3)]  # fmt: skip
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
    whole = collect.study(reading.read([runs, other]))
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
    assert (len(of_runs), len(of_pairs)) == (10, 10 * 6)
    # 100 runs of 20 variants, all pairs of which are compared in 6 ways.
    assert 100 * max(of_runs) + 190 * 6 * max(of_pairs) < 1_000_000


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
        reading.read([runs])
    assert collected(monkeypatch, runs, to=tmp_path / "out.json") == 1
    said = capsys.readouterr().err
    assert re.search(message, said)
    assert said.count("\n") == 1
    assert not (tmp_path / "out.json").exists()


def test_a_folder_without_runs(runs: Path, tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"nowhere: expected runs, <variant>-<seed>\.json, got none; run the benchmark"
    ):
        reading.read([runs, tmp_path / "nowhere"])


# Tables and plot

GROUPS = {"Skips": ("concat", "no-skip"), "Scores": ("instance", "mean", "none", "concat")}


def rows_of(table: str) -> dict[str, dict[str, str]]:
    """Cells by variant and heading."""
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.strip().splitlines()]
    assert len({len(line) for line in lines}) == 1, "a row with too many or too few cells"
    return {line[0]: dict(zip(lines[0], line, strict=True)) for line in lines[2:]}


def test_the_table_of_results(whole: dict) -> None:
    found = rows_of(tables.results_table(whole, "all", ("instance", "concat", "mean", "none", "no-skip")))
    assert list(found) == ["instance", "concat", "mean", "none", "no-skip"]
    concat, instance = found["concat"], found["instance"]
    assert (concat["seeds"], concat["vessel Dice"], concat["step, times"]) == ("3", "51.4 ± 1.0", "1.00")
    # Of 4 cases that have tumors.
    assert (instance["seeds"], instance["tumor Dice"], instance["step, times"]) == ("2", "30.4 ± 0.4", "0.50")
    assert (instance["vessel Dice, plain cases"], instance["parameters"]) == ("60.8 ± 0.7", "123,456")
    assert instance["memory, MiB"] == "812"
    assert (found["mean"]["seeds"], found["mean"]["vessel Dice"]) == ("1, 1 failed", "40.4")
    assert (found["none"]["seeds"], found["none"]["vessel Dice"], found["none"]["parameters"]) == (
        "1 failed",
        "",
        "123,456",
    )
    assert not any(list(found["no-skip"].values())[1:]), "what was not run stays empty"


def test_time_is_compared_on_one_machine(whole: dict) -> None:
    whole["machines"].append(MACHINE | {"name": "another"})
    for run in whole["runs"]:
        if run["variant"] == "instance" and run["seed"] == 1:
            run |= {"machine": 1, "seconds_per_step": 99.0}
        if run["variant"] == "mean":
            run["machine"] = 1
    found = rows_of(tables.results_table(whole, "all", ("instance", "mean")))
    assert (found["instance"]["step, times"], found["mean"]["step, times"]) == ("0.50", "")


def test_the_table_of_sizes_takes_the_same_cases_and_seeds(whole: dict) -> None:
    found = rows_of(tables.sizes_table(whole, "all", ("concat", "no-skip")))
    # Two of the cases were predicted at both sizes, with Dice of 0.1 less.
    expected = {"vessel, 0.25": "41.1 ± 1.0", "vessel, 1": "51.1 ± 1.0", "vessel, 4": ""}
    assert found["concat"].items() >= expected.items()
    assert "no-skip" not in found
    del next(run for run in whole["runs"] if run["variant"] == "concat" and run["seed"] == 2)["scores"]["0.25"]
    assert rows_of(tables.sizes_table(whole, "all", ("concat",)))["concat"]["vessel, 1"] == "50.6 ± 0.7"
    for run in whole["runs"]:
        run["scores"].pop("0.25", None)
    assert tables.sizes_table(whole, "all", ("concat",)) == ""


def test_the_tables_of_probes(whole: dict) -> None:
    variants = ("concat", "instance", "no-skip")
    found = rows_of(tables.probes_table(whole, "all", variants, "entropy"))
    assert found == {
        "instance, CCA": {"variant": "instance, CCA", "16 x 48 x 48": "0.90 / 0.90", "16 x 96 x 96": "0.90 / 0.75"},
        "instance, SCA": {"variant": "instance, SCA", "16 x 48 x 48": "0.25 / 0.25", "16 x 96 x 96": "0.25 /"},
    }
    assert "| 0.5 / 0.5 | 0.5 / 1 |\n" in (spread := tables.probes_table(whole, "all", variants, "spread"))
    assert "| 12,350 / 12,350 | 12,350 /  |\n" in spread
    assert tables.probes_table(whole, "all", ("concat",), "entropy") == ""


def test_the_table_of_pairs_is_turned_to_the_baseline(whole: dict) -> None:
    for baseline, variant, difference in (("concat", "instance", "+10.0"), ("instance", "concat", "-10.0")):
        row = rows_of(tables.pairs_table(whole, "all", baseline, "vessel", ("none", variant, baseline)))[variant]
        assert (row["difference"], row["plain cases"], row["seeds"], row["cases"]) == (difference, difference, "2", "5")
        assert (row["over cases"], row["p"], row["p, Holm"]) == (f"{difference} to {difference}", "0.062", "0.19")
    one_seed = rows_of(tables.pairs_table(whole, "all", "concat", "vessel", ("mean",)))["mean"]
    assert (one_seed["seeds"], one_seed["over seeds and cases"]) == ("1", "")
    assert tables.pairs_table(whole, "all", "no-skip", "vessel", ("concat",)) == ""
    rows = [row for row in whole["comparisons"] if (row["a"], row["b"]) == ("concat", "instance")]
    rows[0] |= {"interval": [-0.12, -0.07], "p": 1e-7}
    turned = tables.less(whole, "all", "instance", "concat", "vessel")
    assert (turned["a"], turned["interval"], turned["rank_biserial"]) == ("instance", [0.07, 0.12], 1)
    assert "+7.0 to +12.0 | < 0.0001" in tables.pairs_table(whole, "all", "concat", "vessel", ("instance",))


def test_what_the_pages_hold(whole: dict) -> None:
    results, details = tables.results(whole, GROUPS), tables.details(whole, GROUPS, against=("concat", "instance"))
    for part in ("#### Skips", "#### Scores", "8 runs", "steps 250", "| no-skip |", "(images/accuracy.svg)"):
        assert part in results
    for part in ("#### Patches of other sizes", "#### Entropy", "less `concat`, tumor", "less `instance`, vessel"):
        assert part in details
    for part in (results, details):
        assert "plain phantoms alone\n" not in part.replace(tables.TRAINED_ON["all"], ""), "nothing was trained so"
    with pytest.raises(ValueError, match=r"tables: instance, none in no group, .* add to GROUPS in variants.py"):
        tables.results(whole, {"Some": ("concat", "mean")})


def test_networks_trained_on_less_are_in_one_table(whole: dict) -> None:
    for run in whole["runs"]:
        if run["variant"] in ("mean", "concat"):
            run["data"] = "plain"
    text = tables.results(whole, GROUPS)
    _, part = text.split(tables.TRAINED_ON["plain"])
    assert list(rows_of(part.split("All that were\n\n")[1])) == ["concat", "mean"]


@pytest.mark.parametrize("page", tables.PAGES)
def test_the_docs_have_a_place_for_the_study(page: str) -> None:
    marks.parts((tables.DOCS / page).read_text(encoding="utf-8"), tables.MAKER)


@pytest.mark.skipif(not tables.RESULT.exists(), reason="no study has been collected yet")
@pytest.mark.parametrize("page", tables.PAGES)
def test_the_docs_show_the_study(page: str) -> None:
    whole = json.loads(tables.RESULT.read_text(encoding="utf-8"))
    shown = marks.parts((tables.DOCS / page).read_text(encoding="utf-8"), tables.MAKER)[1]
    assert shown == tables.PAGES[page](whole, tables.TITLED)


def test_the_command_writes_pages_and_plot(whole: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plot, result = tmp_path / "images" / "accuracy.svg", tmp_path / "cpu.json"
    for page in tables.PAGES:
        (tmp_path / page).write_text(f"before\n{marks.begin(tables.MAKER)}{marks.END}after\n", encoding="utf-8")
    result.write_text(collect.text(whole), encoding="utf-8")
    for name, value in {"DOCS": tmp_path, "PLOT": plot, "RESULT": result, "TITLED": GROUPS}.items():
        monkeypatch.setattr(tables, name, value)
    tables.main()
    for page, made in tables.PAGES.items():
        text = (tmp_path / page).read_text(encoding="utf-8")
        assert text.startswith("before\n")
        assert text.endswith("after\n")
        assert made(whole, GROUPS) in text
    assert "instance" in plot.read_text(encoding="utf-8")


def test_the_plot(whole: dict, tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("images/one.svg", "images/two.svg")]
    for path in paths:
        figure.draw(whole, "all", tables.ordered(GROUPS), "concat", path)
    root = ElementTree.parse(paths[0]).getroot()
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert paths[0].read_bytes() == paths[1].read_bytes()
    texts = [
        ("".join(node.itertext()).strip(), node.get("style", "")) for node in root.iter() if node.tag.endswith("text")
    ]
    words = [word for word, _ in texts]
    assert [word for word in words if word in ("concat", "instance", "mean", "none")] == [
        "concat",
        "instance",
        "mean",
        "none",
    ]
    assert "no-skip" not in words
    assert words.count("failed") == 2
    assert {"vessel", "tumor", "Dice, %"} <= set(words)
    sizes = [float(size) for _, style in texts for size in re.findall(r"([0-9.]+)px", style)]
    assert len(sizes) == len(texts)
    # In units of the plot's width in points; a phone shows it at three quarters of that.
    assert min(sizes) * 0.75 >= 8
