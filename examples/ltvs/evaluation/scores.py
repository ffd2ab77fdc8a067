"""Scores of label maps: of each case, means over cases, and the files and the table that show them.

`liver` is the whole organ, every label above 0. A label map holds one label per voxel, so its vessels lie inside the
liver: vessels are scored against the reference clipped to the reference liver.

Empty masks, per case and structure:

- in neither map: the means of that structure leave the case out; null in JSON, blank in CSV;
- in the prediction alone (false alarm): Dice, IoU and clDice are 0, HD95 is null;
- in the reference alone (missed): Dice, IoU and clDice are 0, HD95 is null, and `missed` counts it.

A mean is over the `n` cases that have scores. The mean of HD95 is over those that have a distance. It is null if there
are none.

`lesions` counts tumors one by one, as `lesion_counts` says: how many are found, missed, confirmed and false, in all and
by longest axial diameter. The summary has their sums over cases, with recall and precision.
"""

from collections.abc import Collection, Mapping
from pathlib import Path
from statistics import fmean

from jaxtyping import UInt8
from numpy import ndarray
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ltvs.evaluation.lesion_scores import COUNTS, lesion_scores, lesion_table, sum_lesions
from ltvs.evaluation.metrics import Mask, cldice, dice, hd95, iou
from ltvs.runtime.files import write_json
from ltvs.runtime.spreadsheets import write_rows
from ltvs.volume.grids import Grid
from ltvs.volume.labels import STRUCTURES, structure_mask

Labels = UInt8[ndarray, "d h w"]
#: Values of one structure by measure.
Scores = dict[str, float | None]
#: Scores of one case by structure, with `missed` as 0 or 1, and the numbers of `lesions`.
CaseScores = dict[str, Scores]
#: Means over cases by structure, with the number `n` of cases that count and how many of them are `missed`; sums of
#: `lesions`.
Summary = dict[str, Scores]

#: The measures of each structure, in the order of every file and table.
MEASURES = {
    "liver": ("dice", "iou", "hd95_mm"),
    "tumor": ("dice", "iou", "hd95_mm"),
    "vessel": ("dice", "iou", "cldice", "hd95_mm"),
}
#: Key of tumors that are counted one by one.
LESIONS = "lesions"
HEADINGS = {"dice": "Dice", "iou": "IoU", "cldice": "clDice", "hd95_mm": "HD95"}


def score_case(prediction: Labels, reference: Labels, grid: Grid) -> CaseScores:
    """Return the scores of every structure, and `missed`: 1 if the reference alone has it; all None if neither has it.

    Args:
        prediction: labels, (d, h, w).
        reference: labels, (d, h, w).
        grid: of both.

    Returns:
        By structure, and the numbers of `lesions`.
    """
    spacing = grid.spacing[::-1]
    masks = {name: (structure_mask(prediction, name), structure_mask(reference, name)) for name in STRUCTURES}
    scores: CaseScores = {name: _scores(name, *masks[name], spacing) for name in STRUCTURES}
    scores[LESIONS] = lesion_scores(*masks["tumor"], grid)
    return scores


def mean_scores(cases: Collection[CaseScores]) -> Summary:
    """Return means over the cases that have a value, `n` and `missed`, and sums of lesions; None if no case has one."""
    summary: Summary = {}
    for name in STRUCTURES:
        columns = {
            key: [s for case in cases if (s := case[name][key]) is not None] for key in (*MEASURES[name], "missed")
        }
        summary[name] = {key: fmean(columns[key]) if columns[key] else None for key in MEASURES[name]}
        summary[name] |= {"n": len(columns["dice"]), "missed": sum(columns["missed"])}
    return {**summary, LESIONS: sum_lesions([case[LESIONS] for case in cases])}


def score_files(output: Path) -> tuple[Path, Path]:
    """Return the files that `write_scores` writes: one row per case, and means over cases."""
    return output / "cases.csv", output / "summary.json"


def write_scores(cases: Mapping[str, CaseScores], output: Path) -> None:
    """Write `cases.csv`, one row per case, and `summary.json`, means over cases, each atomically.

    Columns are named `structure_measure`. The value in the summary is the mean of a column, the sum for `missed` and
    lesions.

    Raises:
        InputError: the folder cannot be written to.
    """
    columns: list[tuple[str, str]] = [(name, key) for name in STRUCTURES for key in (*MEASURES[name], "missed")]
    columns += [(LESIONS, key) for key in COUNTS]
    of_cases, of_all = score_files(output)
    rows = ([case, *(scores[name][key] for name, key in columns)] for case, scores in cases.items())
    write_rows(of_cases, [["case", *(f"{name}_{key}" for name, key in columns)], *rows])
    write_json(of_all, mean_scores(cases.values()))


def print_score_table(methods: Mapping[str, Summary]) -> None:
    """Print tables of one row per method: means of every structure, and lesions; then what was missed."""
    table = Table(box=None, pad_edge=False, header_style="bold", caption="HD95 in mm", caption_justify="left")
    table.add_column("\nMethod", overflow="fold")
    for name in STRUCTURES:
        for i, key in enumerate(MEASURES[name]):
            table.add_column(f"{'' if i else name}\n{HEADINGS[key]}", justify="right", no_wrap=True)
    for method, summary in methods.items():
        table.add_row(Text(method), *(_cell(key, summary[name][key]) for name in STRUCTURES for key in MEASURES[name]))
    console = Console()
    console.print(table)
    console.print()
    console.print(lesion_table({method: summary[LESIONS] for method, summary in methods.items()}))
    for method, summary in methods.items():
        for name in STRUCTURES:
            if missed := summary[name]["missed"]:
                console.print(Text(f"{method}: missed the {name} in {missed} of {summary[name]['n']} cases"))


def _scores(name: str, prediction: Mask, reference: Mask, spacing: tuple[float, float, float]) -> Scores:
    """Return the scores of one structure."""
    scores: Scores = {"dice": dice(prediction, reference), "iou": iou(prediction, reference)}
    if "cldice" in MEASURES[name]:
        scores["cldice"] = cldice(prediction, reference)
    scores["hd95_mm"] = hd95(prediction, reference, spacing)
    scores["missed"] = None if scores["dice"] is None else int(not prediction.any())
    return scores


def _cell(key: str, value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.1f}" if key == "hd95_mm" else f"{value:.3f}"
