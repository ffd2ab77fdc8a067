"""The study of what synthetic patients have to vary in: one part more in each row, trained by commands that exist."""

import json
import re
import sys
from pathlib import Path

import pytest
import tyro

from benchmarks.pages import replaced
from benchmarks.synthesis import __main__ as study
from benchmarks.synthesis import tables
from benchmarks.synthesis.rows import PATCH, rows, training
from ltvs.dataset.layout import PreparedSet
from ltvs.model.stages import STAGES
from ltvs.runtime.files import read_json, write_json
from ltvs.training.settings import TrainSettings
from support.tiny_cases import tiny_case
from support.trained_runs import tiny_set
from support.volume_file_layouts import write_own


@pytest.fixture
def data(tmp_path: Path) -> PreparedSet:
    made = tiny_set(tmp_path / "data")
    for name in ("0000", "0001", "0002"):
        (made.folder / "maps" / name).mkdir(parents=True)
        (made.folder / "maps" / name / "map.json").touch()
    write_json(made.folder / "split.json", {"train": ["a", "b"], "validation": ["a"], "test": ["b"]})
    return PreparedSet(made.folder)


def test_every_row_varies_one_part_more() -> None:
    once, rendered, *varied = rows()
    assert once.fixed is None
    before = set(rendered.fixed or ())
    assert len(before) == 6
    for row in varied:
        now = set(row.fixed or ())
        assert now < before
        assert row.name == f"+ {(before - now).pop()}"
        before = now
    assert not before


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.name)
@pytest.mark.parametrize("stage", STAGES)
def test_commands_of_a_row(data: PreparedSet, row, stage) -> None:
    script, *words = training(row, stage, 30, "32", data, data.folder / "run")
    assert script == "train_ltvs.py"
    parts = [part for word in words for part in (word.split() if isinstance(word, str) else [str(word)])]
    settings = tyro.cli(TrainSettings, args=parts)
    assert settings.stages() == (stage,)
    assert settings.patch == PATCH[stage]
    assert settings.fixed == (row.fixed or ())
    patches = 12 if row.fixed is not None else 2
    assert settings.epochs == -(-30 // patches)
    assert settings.render == (0 if row.fixed is None else 4)
    assert settings.schedule == "cosine"
    assert settings.precision == "32"


def case(liver: float, tumor: float | None, vessel: float | None, ml: float) -> dict:
    dice = {"liver": liver, "tumor": tumor} | ({} if vessel is None else {"vessel": vessel})
    return {"dice": dice, "false_tumor_ml": ml}


def test_table() -> None:
    first = {
        "phantoms": {"1": case(0.9, 0.5, 0.4, 1), "2": case(0.8, None, 0.6, 2)},
        "ltvs": {"a": case(0.7, 0, None, 9)},
    }
    second = {"phantoms": {"1": case(1, 1, 1, 0), "2": case(1, 1, 1, 0)}, "ltvs": {"a": case(1, None, None, 0)}}
    named = {"one": {"cases": first, "train_seconds": 5400}, "+ other": {"cases": second, "train_seconds": 1800}}
    about = {"name": "a CPU", "processors": 2, "versions": {"torch": "2"}, "commit": "abc"}
    shown = tables.text({"rows": named, "steps": 1500, "precision": "bf16-mixed", "maps": 50, "machine": about})
    heads, _, one, other = (line.strip("| ").split(" | ") for line in shown.splitlines()[:4])
    assert heads[1:4] == ["phantoms, liver", "phantoms, tumor", "phantoms, vessel"]
    assert heads[4:] == ["phantoms, false tumor ml", "ltvs, liver", "ltvs, tumor", "ltvs, false tumor ml"]
    assert one == ["one", "0.850", "0.500", "0.500", "1.5", "0.700", "0.000", "9.0"]
    assert other == ["+ other", "1.000", "1.000", "1.000", "0.0", "1.000", "-", "0.0"]
    assert "1500 steps of one patch for each network, precision bf16-mixed, 50 synthetic patients, one seed." in shown
    assert "2.0 hours on a CPU" in shown


def test_the_docs_show_the_results() -> None:
    page, result = tables.PAGE.read_text(encoding="utf-8"), read_json(tables.RESULT)
    assert replaced(page, tables.MAKER, tables.text(result)) == page
    assert list(result["rows"]) == [row.name for row in rows()]
    assert result["steps"] >= 1500


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("--cohort", "banana", "x"),
            r"with labeled livers \(ircadb, crlm, ltvs, prepared\); got banana",
        ),
        (("--cohort", "msd08", "x"), "expected a cohort with labeled livers .*; got msd08"),
        (("--only", "noise"), r"--only: expected names of rows \(phantoms made once, .*got noise"),
        (("--cohort", "ltvs", "nowhere"), "error: nowhere: "),
    ],
)
def test_what_cannot_be_is_said(words: tuple, message: str, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys, "argv", ["synthesis", "--output", str(tmp_path / "out"), *words])
    with pytest.raises(SystemExit, match="2"):
        study.main()
    assert re.search(message, capsys.readouterr().err)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_row_is_trained_scored_and_kept(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(study, "PHANTOMS", "--source phantom --matrix 96 --ct-slice-spacing 5 --count 3")
    monkeypatch.setattr(study, "SPLIT", "--validation 1 --test 1")
    write_own(tmp_path / "cohort" / "a", tiny_case("a"))
    output = tmp_path / "out"
    words = ["--output", output, "--maps", 1, "--steps", 2, "--only", "rendered on the fly"]
    words += ["--cohort", "ltvs", tmp_path / "cohort", "--json", tmp_path / "report.json"]
    monkeypatch.setattr(sys, "argv", ["synthesis", *map(str, words)])
    assert study.main() == 0
    report = json.loads((tmp_path / "report.json").read_text())
    assert list(report["rows"]) == ["rendered on the fly"]
    cases = report["rows"]["rendered on the fly"]["cases"]
    assert list(cases) == ["phantoms", "ltvs"]
    for of_cohort in cases.values():
        for scores in of_cohort.values():
            assert set(scores["dice"]) == {"liver", "tumor", "vessel"}
    assert tables.text(report) in capsys.readouterr().out
    settings = json.loads((output / "rendered-on-the-fly" / "stage2" / "settings.json").read_text())
    assert len(settings["training"]["fixed"]) == 6
    before = (output / "rendered-on-the-fly" / "scores.json").read_bytes()
    assert study.main() == 0, "a row that is done is not trained again"
    assert (output / "rendered-on-the-fly" / "scores.json").read_bytes() == before
    monkeypatch.setattr(sys, "argv", [word if word != "2" else "3" for word in sys.argv])
    with pytest.raises(SystemExit, match="2"):
        study.main()
    assert "rendered-on-the-fly: was run with other --steps, --maps or --cohort, or" in capsys.readouterr().err
