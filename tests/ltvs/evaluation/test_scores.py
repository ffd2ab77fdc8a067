"""Scores: of a case, of empty masks, means, files and the table."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ltvs.evaluation.lesion_scores import COUNTS
from ltvs.evaluation.scores import LESIONS, MEASURES, mean_scores, print_score_table, score_case, write_scores
from ltvs.runtime.errors import InputError
from ltvs.volume.grids import Grid

GRID = Grid((8, 5, 4), (0.9, 0.7, 2.0), (0, 0, 0), (1, 0, 0, 0, 1, 0, 0, 0, 1))
STRUCTURES = ["liver", "tumor", "vessel"]


def labels(shape: tuple[int, int, int] = (4, 5, 8), **boxes: int) -> np.ndarray:
    """A label map with the first `n` voxels of a row labeled, one row per structure."""
    found = np.zeros(shape, np.uint8)
    for row, (name, value) in enumerate((("liver", 1), ("vessel", 2), ("tumor", 3))):
        found[1, row, : boxes.get(name, 0)] = value
    return found


def reject(constant: str) -> None:
    raise AssertionError(f"{constant} is not JSON")


def test_scores_of_a_case() -> None:
    scores = score_case(labels(liver=6, vessel=3, tumor=2), labels(liver=4, vessel=4, tumor=2), GRID)
    assert list(scores) == [*STRUCTURES, LESIONS]
    # The liver holds vessels and tumors: 4 + 3 + 2 voxels of 11 and 10 in common.
    assert scores["liver"]["dice"] == pytest.approx(2 * 9 / (11 + 10))
    assert scores["liver"]["iou"] == pytest.approx(9 / 12)
    assert scores["vessel"] == {
        "dice": pytest.approx(2 * 3 / 7),
        "iou": pytest.approx(3 / 4),
        "cldice": pytest.approx(2 * (1 * 3 / 4) / (1 + 3 / 4)),
        # Of the distances 0, 0, 0, 0.9 mm from the longer line, 85% of the way from the third to the fourth.
        "hd95_mm": pytest.approx(0.85 * 0.9, rel=1e-6),
        "missed": 0,
    }
    assert scores["tumor"] == {"dice": 1, "iou": 1, "hd95_mm": 0, "missed": 0}


def test_neither_has_it() -> None:
    scores = score_case(labels(liver=3), labels(liver=3), GRID)
    assert scores["tumor"] == dict.fromkeys(("dice", "iou", "hd95_mm", "missed"))
    assert scores["vessel"] == dict.fromkeys(("dice", "iou", "cldice", "hd95_mm", "missed"))


def test_false_alarm() -> None:
    scores = score_case(labels(liver=3, tumor=1, vessel=2), labels(liver=3), GRID)
    assert scores["tumor"] == {"dice": 0, "iou": 0, "hd95_mm": None, "missed": 0}
    assert scores["vessel"] == {"dice": 0, "iou": 0, "cldice": 0, "hd95_mm": None, "missed": 0}


def test_missed() -> None:
    scores = score_case(labels(liver=3), labels(liver=3, tumor=1, vessel=2), GRID)
    assert scores["tumor"] == {"dice": 0, "iou": 0, "hd95_mm": None, "missed": 1}
    assert scores["vessel"] == {"dice": 0, "iou": 0, "cldice": 0, "hd95_mm": None, "missed": 1}


def four_cases() -> dict[str, Any]:
    """A tumor that is found, one missed, one a false alarm, and a case without; the same liver in all."""
    with_tumor, without = labels(liver=4, vessel=2, tumor=2), labels(liver=4, vessel=2)
    pairs = {
        "found": (with_tumor, with_tumor), "missed": (without, with_tumor),
        "false alarm": (with_tumor, without), "without ä": (without, without),
    }  # fmt: skip
    return {name: score_case(*pair, GRID) for name, pair in pairs.items()}


def test_means_are_over_the_cases_that_have_a_value() -> None:
    summary = mean_scores(four_cases().values())
    assert list(summary) == [*STRUCTURES, LESIONS]
    assert summary["tumor"] == {
        "dice": pytest.approx(1 / 3),
        "iou": pytest.approx(1 / 3),
        "hd95_mm": 0,
        "n": 3,
        "missed": 1,
    }
    assert summary["liver"]["dice"] == pytest.approx((1 + 2 * 6 / 14 + 2 * 6 / 14 + 1) / 4)
    assert summary["vessel"] == {"dice": 1, "iou": 1, "cldice": 1, "hd95_mm": 0, "n": 4, "missed": 0}
    # All tumors are rows of two voxels.
    counts = {"found": 1, "missed": 1, "confirmed": 1, "false": 1}
    small = {f"{key}_under_10_mm": n for key, n in counts.items()}
    assert summary[LESIONS] == dict.fromkeys(COUNTS, 0) | counts | small | {"recall": 0.5, "precision": 0.5}


@pytest.mark.parametrize("cases", [[], [score_case(labels(), labels(), GRID)]])
def test_no_case_that_counts(cases: list[Any]) -> None:
    summary = mean_scores(cases)
    for name in STRUCTURES:
        assert summary[name] == dict.fromkeys(MEASURES[name]) | {"n": 0, "missed": 0}
    assert summary[LESIONS] == dict.fromkeys(COUNTS, 0) | {"recall": None, "precision": None}


def test_files(tmp_path: Path) -> None:
    cases = four_cases()
    write_scores(cases, tmp_path / "new" / "scores")
    assert sorted(path.name for path in (tmp_path / "new" / "scores").iterdir()) == ["cases.csv", "summary.json"]
    summary = json.loads((tmp_path / "new" / "scores" / "summary.json").read_text(), parse_constant=reject)
    assert summary == mean_scores(cases.values())
    assert list(summary) == [*STRUCTURES, LESIONS]
    with (tmp_path / "new" / "scores" / "cases.csv").open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    assert [row["case"] for row in rows] == list(cases)
    assert [row["tumor_dice"] for row in rows] == ["1.0", "0.0", "0.0", ""]
    assert [row["tumor_hd95_mm"] for row in rows] == ["0.0", "", "", ""]
    assert [row["tumor_missed"] for row in rows] == ["0", "1", "0", ""]
    for name in STRUCTURES:
        for key in MEASURES[name]:
            values = [float(row[f"{name}_{key}"]) for row in rows if row[f"{name}_{key}"]]
            assert np.mean(values) == pytest.approx(summary[name][key])
    for key in COUNTS:
        assert sum(int(row[f"lesions_{key}"]) for row in rows) == summary[LESIONS][key]


def test_names_of_cases_are_no_formulas(tmp_path: Path) -> None:
    write_scores({"=1+1": four_cases()["found"]}, tmp_path)
    assert (tmp_path / "cases.csv").read_text(encoding="utf-8").splitlines()[1].startswith("'=1+1,")


def test_files_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="cannot be written"):
        write_scores(four_cases(), tmp_path / "file")


def test_table(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    organ = {"dice": 0.95164, "iou": 0.91, "hd95_mm": 3.26, "n": 4, "missed": 0}
    tumor = {"dice": 0.5, "iou": 1 / 3, "hd95_mm": 120.04, "n": 3, "missed": 1}
    lesions = dict.fromkeys(COUNTS, 0) | {"found": 12, "missed": 5, "false": 123, "confirmed": 4}
    lesions |= {
        "false_over_20_mm": 123,
        "confirmed_over_20_mm": 4,
        "found_under_10_mm": 2,
        "missed_under_10_mm": 5,
        "found_over_20_mm": 10,
    }
    methods = {"UCA-Net": {"liver": organ, "tumor": tumor, "vessel": organ | {"cldice": 1.0}, LESIONS: lesions}}
    print_score_table(methods | {"3D U-Net [32, 64]": mean_scores([])})
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == STRUCTURES
    assert " ".join(lines[1].split()) == "Method Dice IoU HD95 Dice IoU HD95 Dice IoU clDice HD95"
    assert " ".join(lines[2].split()) == "UCA-Net 0.952 0.910 3.3 0.500 0.333 120.0 0.952 0.910 1.000 3.3"
    start = next(i for i, line in enumerate(lines) if line.split() == ["found", "false"])
    assert " ".join(lines[start + 1].split()) == "Method all < 10 10-20 > 20 all < 10 10-20 > 20"
    assert lines[start + 2].split() == ["UCA-Net", "12/17", "2/7", "0/0", "10/10", "123/127", "0/0", "0/0", "123/127"]
    said = " ".join(" ".join(lines).split())
    assert "A tumor of the reference is found if at least 10% of it is predicted." in said
    assert "A predicted tumor is false if less than 10% of it is in the reference." in said
    assert "- " * 10 in said
    assert "[32, 64]" in said
    assert "HD95 in mm" in said
    assert "UCA-Net: missed the tumor in 1 of 3 cases" in lines
    assert "…" not in said
    assert max(map(len, lines)) <= 80
