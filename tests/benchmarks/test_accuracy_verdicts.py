"""Which skips count as a gain, which go on after three seeds, and with which power."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import pages
from benchmarks.accuracy import collect, power, run_files, skip_tables
from benchmarks.accuracy.verdicts import Verdict, by_patient, counts, difference, goes_on, lead_of, verdicts
from support.markdown_tables import rows_of
from support.study_runs import MACHINE, TASK

CASES, SEEDS = 12, 10


def made(variant: str, seed: int, tumor: float, vessel: float, adapts: tuple[float, float] | None = None) -> dict:
    """A run with these means, points; `adapts` is what freezing its maps takes away."""
    rng = np.random.default_rng((len(variant), seed))
    noise = {name: rng.normal(0, 0.005, CASES) for name in ("tumor", "vessel")}
    middle = {"tumor": tumor, "vessel": vessel}

    def scores(less: dict[str, float], count: int = CASES) -> dict:
        def dice(label: str, i: int) -> float:
            return float(np.clip(middle[label] / 100 + i / 100 + noise[label][i] - less[label] / 100, 0, 1))

        labels = ("tumor", "vessel")
        return {
            f"rendered-{i // 2}-{i % 2}": {n: {"dice": dice(n, i), "iou": 0.1} for n in labels} for i in range(count)
        }

    none = {"tumor": 0.0, "vessel": 0.0}
    by_size = {"1": scores(none), "4": scores({"tumor": 2.0, "vessel": 1.0}, 6)}
    by_size["ct"] = {"ct-a": {n: {"dice": 0.5 + seed / 100, "iou": 0.1} for n in ("tumor", "vessel")}}
    if adapts:
        by_size["frozen"] = scores(dict(zip(("tumor", "vessel"), adapts, strict=True)))
    return {
        "variant": variant, "data": "all", "seed": seed, "task": TASK, "parameters": 1234, "seconds_per_step": 0.25,
        "peak_memory_mib": 1.0, "losses": [], "finite": True, "scores": by_size, "probes": {}, "machine": MACHINE,
    }  # fmt: skip


def study_of(folder: Path, **means: tuple) -> dict:
    folder.mkdir()
    for name, found in means.items():
        variant = name.replace("_", "-")
        for seed in range(3 if variant == "axial" else SEEDS):
            (folder / f"{variant}-{seed}.json").write_text(json.dumps(made(variant, seed, *found)))
    return json.loads(collect.text(collect.study(run_files.read([folder]))))


@pytest.fixture
def whole(tmp_path: Path) -> dict:
    return study_of(
        tmp_path / "runs",
        concat=(40, 50), static=(40, 50), gated=(43, 50, (3, 0)), selective=(43, 50, (0, 0)),
        windowed=(43, 45, (3, 0)), attention_gate=(40, 50, (3, 3)), axial=(38, 51, (0, 0)),
    )  # fmt: skip


def test_a_gain_is_above_both_baselines_and_goes_when_it_is_frozen(whole: dict) -> None:
    found = {name: verdicts(whole, name) for name in collect.names(whole, "all")}
    assert {name: counts(one) for name, one in found.items()} == {
        "concat": False, "static": False, "gated": True, "selective": False, "windowed": False,
        "attention-gate": False, "axial": None,
    }  # fmt: skip
    gated = found["gated"]["tumor"]
    assert gated.gains
    assert 100 * gated.less["static"].difference == pytest.approx(3, abs=0.5)
    assert 100 * gated.less_frozen.difference == pytest.approx(3, abs=1e-6)
    assert (gated.less["concat"].seeds, gated.less["concat"].cases) == (10, 6)
    assert gated.frozen_less["static"].interval[0] <= 0
    assert (found["windowed"]["tumor"].gains, found["windowed"]["vessel"].loses) == (True, True)
    assert found["selective"]["tumor"].less_frozen.difference == 0
    assert found["static"]["tumor"].less_frozen is None
    assert set(found["static"]["tumor"].less) == {"concat"}


def test_a_gain_that_stays_when_it_is_frozen_is_none(tmp_path: Path) -> None:
    whole = study_of(tmp_path / "more", concat=(40, 50), static=(40, 50), gated=(46, 50, (2, 0)))
    found = verdicts(whole, "gated")["tumor"]
    assert all(one.interval[0] > 0 for one in (*found.less.values(), found.less_frozen, *found.frozen_less.values()))
    assert not found.gains


def test_without_a_baseline_nothing_counts() -> None:
    one = Verdict({"concat": None}, None, {"concat": None})
    assert not one.gains
    assert not one.loses
    assert counts({"tumor": one}) is None


def test_scenes_of_a_patient_are_one_case() -> None:
    cases = ["rendered-1-0", "rendered-2-0", "rendered-1-1", "ct-a-7", "rendered-2-1"]
    found = by_patient(cases, np.array([0.2, np.nan, 0.4, np.nan, 0.7]))
    assert found == pytest.approx([0.3, 0.7, np.nan], nan_ok=True)


def test_what_goes_on_is_ahead_in_one_class_and_not_far_behind_in_the_other(whole: dict) -> None:
    leads = {"gated": (3, 0), "windowed": (3, -5), "axial": (-2, 1)}
    for name, (tumor, vessel) in leads.items():
        assert lead_of(whole, name, "tumor") == pytest.approx(tumor, abs=0.7)
        assert lead_of(whole, name, "vessel") == pytest.approx(vessel, abs=0.7)
    assert goes_on(whole, "gated")
    assert not goes_on(whole, "windowed")
    assert goes_on(whole, "never-run") is None
    whole["runs"] = [run for run in whole["runs"] if (run["variant"], run["seed"]) != ("static", 1)]
    assert goes_on(whole, "gated") is None


def test_tables_say_what_was_found(whole: dict) -> None:
    short = rows_of(skip_tables.short_table(whole))
    assert list(short) == [
        "`concat`",
        "`static`",
        "`attention-gate`",
        "`gated`",
        "`selective`",
        "`windowed`",
        "`axial`",
    ]
    assert (short["`concat`"]["tumor vs `concat`"], short["`axial`"]["seeds"]) == ("", "3")
    assert short["`gated`"]["tumor vs `concat`"].startswith(("+2.", "+3."))
    whole["runs"][0] |= {"finite": False, "scores": {}}
    first = whole["runs"][0]["variant"]
    assert rows_of(skip_tables.short_table(whole))[f"`{first}`"]["seeds"] == "9, 1 failed"


def test_tables_of_the_appendix(whole: dict) -> None:
    verdict = rows_of(skip_tables.verdict_table(whole))
    assert [name for name, row in verdict.items() if row["counts"] == "yes"] == ["`gated`"]
    assert verdict["`gated`"]["tumor vs itself frozen"] == "+3.0 (3.0 to 3.0)"
    assert (verdict["`static`"]["counts"], verdict["`axial`"]["counts"]) == ("", "")
    fixed = rows_of(skip_tables.frozen_table(whole))
    assert list(fixed) == [
        f"`{name}`, frozen" for name in ("attention-gate", "gated", "selective", "windowed", "axial")
    ]
    pruned = rows_of(skip_tables.pruning_table(whole))
    assert (pruned["`gated`"]["kept"], pruned["`windowed`"]["kept"], pruned["`static`"]["kept"]) == (
        "yes", "no", "",
    )  # fmt: skip
    elsewhere = rows_of(skip_tables.elsewhere_table(whole))["`gated`"]
    assert elsewhere["tumor, real CT"] == "54.5 ± 3.0"
    same, larger = (float(elsewhere[f"tumor, {what}"].split()[0]) for what in ("training patch", "4 times the patch"))
    assert same - larger == pytest.approx(2, abs=0.11)
    less = [elsewhere[f"{label}, 4 times the patch, vs `concat`"] for label in ("tumor", "vessel")]
    assert less[0].startswith(("+2.", "+3."))
    assert less[1].startswith(("+0.", "-0."))
    assert "63 runs, C, PyTorch 2.13.0, one thread each, commits abc." in skip_tables.appendix(whole, whole)


def test_plain_phantoms_are_compared_case_by_case(tmp_path: Path) -> None:
    whole = study_of(tmp_path / "plain", concat=(40, 50), gated=(43, 50))
    whole["cases"] = [f"plain-{i:03d}" for i in range(len(whole["cases"]))]
    rows = rows_of(skip_tables.plain_table(whole))
    assert list(rows) == ["`concat`", "`gated`"]
    assert rows["`gated`"]["tumor, vs `concat`"].startswith(("+2.", "+3."))
    assert rows["`concat`"]["vessel, vs `concat`"] == ""
    assert [float(rows["`gated`"][what].split()[0]) for what in ("tumor", "tumor, 4 times the patch")] == [
        pytest.approx(48.5, abs=0.7), pytest.approx(43.5, abs=0.7),
    ]  # fmt: skip
    assert difference(whole, "gated", "concat", "tumor").cases == CASES


def test_the_docs_show_the_study_of_skips() -> None:
    whole = json.loads(skip_tables.RESULT.read_text(encoding="utf-8"))
    appendix = skip_tables.appendix(whole, json.loads(skip_tables.ON_PLAIN.read_text(encoding="utf-8")))
    for page, made_now in (("understand/choices.md", skip_tables.short_table(whole)), ("appendix/study.md", appendix)):
        text = (skip_tables.DOCS / page).read_text(encoding="utf-8")
        assert pages.parts(text, skip_tables.MAKER)[1] == made_now


@pytest.mark.parametrize(("deviation", "seeds"), [(1.0, 10), (10.0, 3), (2.5, 40)])
def test_a_smallest_difference_is_found_as_often_as_it_says(deviation: float, seeds: int) -> None:
    difference = power.smallest_difference(deviation, seeds)
    rng = np.random.default_rng(0)
    pairs = rng.normal(difference, deviation * np.sqrt(2), (20_000, seeds))
    t = pairs.mean(1) / (pairs.std(1, ddof=1) / np.sqrt(seeds))
    found = (t > power.stats.t.ppf(0.975, seeds - 1)).mean()
    # Four standard deviations of a share of 0.8 in 20,000.
    assert found == pytest.approx(0.8, abs=0.012)


def test_power_of_a_study(
    whole: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    file = tmp_path / "made.json"
    file.write_text(collect.text(whole))
    monkeypatch.setattr("sys.argv", ["power", str(file)])
    assert power.main() == 0
    lines = capsys.readouterr().out.splitlines()
    columns = ("setting", "class", "seeds", "Dice", "deviation", "detectable with 3 seeds", "detectable with 10 seeds")
    assert lines[0] == f"| {' | '.join(columns)} |"
    middle, deviation = collect.by_seed(whole, "all", "concat", "tumor", "dice"), lines[3].split(" | ")[4]
    assert float(deviation) == pytest.approx(100 * np.std([np.nanmean(x) for x in middle.values()], ddof=1), abs=0.005)
    for words, message in (
        (["none.json"], "none.json"),
        (["made.json", "--variant", "add"], "error: made: expected two or more runs of 'add'; got 0; see --variant\n"),
    ):
        monkeypatch.setattr("sys.argv", ["power", str(tmp_path / words[0]), *words[1:]])
        assert power.main() == 2
        assert message in capsys.readouterr().err
    with pytest.raises(ValueError, match="made: expected two or more runs of 'add'; got 0"):
        power.power_table({"made": whole}, "add")
