"""Scores of label maps: of each case, means over cases, and the files and the table that show them.

`liver` is the whole organ, every label above 0. A label map holds one label per voxel, so its vessels lie inside the
liver: vessels are scored against the reference clipped to the reference liver.

Empty masks, per case and structure:

- in neither map: the case does not count for that structure; null in JSON, blank in CSV;
- in the prediction alone (false alarm): Dice, IoU and clDice are 0, HD95 is null;
- in the reference alone (missed): Dice, IoU and clDice are 0, HD95 is null, and `missed` counts it.

A mean is over the `n` cases that count, that of HD95 over those of them that have one; null if there is none.
"""

import csv
from collections.abc import Collection, Mapping
from pathlib import Path
from statistics import fmean

from jaxtyping import UInt8
from numpy import ndarray
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ltvs.evaluation.metrics import Mask, cldice, dice, hd95, iou
from ltvs.runtime.files import atomic_path, write_json
from ltvs.volume.labels import BACKGROUND, STRUCTURES, TUMOR, VESSEL

Labels = UInt8[ndarray, "d h w"]
#: Values of one structure by measure.
Scores = dict[str, float | None]
#: Scores of one case by structure, with `missed` as 0 or 1.
CaseScores = dict[str, Scores]
#: Means over cases by structure, with the number `n` of cases that count and how many of them are `missed`.
Summary = dict[str, Scores]

#: The measures of each structure, in the order of every file and table.
MEASURES = {
    "liver": ("dice", "iou", "hd95_mm"),
    "tumor": ("dice", "iou", "hd95_mm"),
    "vessel": ("dice", "iou", "cldice", "hd95_mm"),
}
HEADINGS = {"dice": "Dice", "iou": "IoU", "cldice": "clDice", "hd95_mm": "HD95"}


def score_case(prediction: Labels, reference: Labels, spacing: tuple[float, float, float]) -> CaseScores:
    """Return the scores of every structure, and `missed`: 1 if the reference alone has it; all None if neither has it.

    Args:
        prediction: labels, (d, h, w).
        reference: labels, (d, h, w).
        spacing: mm along d, h, w.
    """
    return {name: _scores(name, _mask(prediction, name), _mask(reference, name), spacing) for name in STRUCTURES}


def mean_scores(cases: Collection[CaseScores]) -> Summary:
    """Return means over the cases that have a value, `n` and `missed`; None if no case has one."""
    summary: Summary = {}
    for name in STRUCTURES:
        columns = {
            key: [s for case in cases if (s := case[name][key]) is not None] for key in (*MEASURES[name], "missed")
        }
        summary[name] = {key: fmean(columns[key]) if columns[key] else None for key in MEASURES[name]}
        summary[name] |= {"n": len(columns["dice"]), "missed": sum(columns["missed"])}
    return summary


def score_files(output: Path) -> tuple[Path, Path]:
    """Return the files that `write_scores` writes: one row per case, and means over cases."""
    return output / "cases.csv", output / "summary.json"


def write_scores(cases: Mapping[str, CaseScores], output: Path) -> None:
    """Write `cases.csv`, one row per case, and `summary.json`, means over cases, each atomically.

    Columns are named `structure_measure`; the mean of a column is the value in the summary, the sum for `missed`.

    Raises:
        InputError: the folder cannot be written to.
    """
    columns = [(name, key) for name in STRUCTURES for key in (*MEASURES[name], "missed")]
    of_cases, of_all = score_files(output)
    with atomic_path(of_cases) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["case", *(f"{name}_{key}" for name, key in columns)])
        rows.writerows([case, *(scores[name][key] for name, key in columns)] for case, scores in cases.items())
    write_json(of_all, mean_scores(cases.values()))


def print_score_table(methods: Mapping[str, Summary]) -> None:
    """Print one row per method: the means of every structure, HD95 in mm, and the structures that were missed."""
    table = Table(box=None, pad_edge=False, header_style="bold", caption="HD95 in mm", caption_justify="left")
    table.add_column("\nMethod", overflow="fold")
    for name in STRUCTURES:
        for i, key in enumerate(MEASURES[name]):
            table.add_column(f"{'' if i else name}\n{HEADINGS[key]}", justify="right", no_wrap=True)
    for method, summary in methods.items():
        table.add_row(Text(method), *(_cell(key, summary[name][key]) for name in STRUCTURES for key in MEASURES[name]))
    console = Console()
    console.print(table)
    for method, summary in methods.items():
        for structure, means in summary.items():
            if means["missed"]:
                console.print(Text(f"{method}: missed the {structure} in {means['missed']} of {means['n']} cases"))


def _scores(name: str, prediction: Mask, reference: Mask, spacing: tuple[float, float, float]) -> Scores:
    """Return the scores of one structure."""
    scores: Scores = {"dice": dice(prediction, reference), "iou": iou(prediction, reference)}
    if "cldice" in MEASURES[name]:
        scores["cldice"] = cldice(prediction, reference)
    scores["hd95_mm"] = hd95(prediction, reference, spacing)
    scores["missed"] = None if scores["dice"] is None else int(not prediction.any())
    return scores


def _mask(labels: Labels, name: str) -> Mask:
    """Return the mask of one structure."""
    mask: Mask = labels > BACKGROUND if name == "liver" else labels == {"tumor": TUMOR, "vessel": VESSEL}[name]
    return mask


def _cell(key: str, value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.1f}" if key == "hd95_mm" else f"{value:.3f}"
