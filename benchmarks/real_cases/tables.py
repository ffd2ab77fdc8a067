"""The scores of a cohort as a table: a row per case, then the means."""

from dataclasses import fields
from typing import Any

from benchmarks import pages
from ltvs.evaluation.lesion_counts import LesionCounts
from ltvs.volume.labels import STRUCTURES


def text(report: dict[str, Any]) -> str:
    """Return the results as Markdown."""
    names = [name for name in STRUCTURES if name in report["structures"]]
    heads = ["case", *(f"{name} Dice" for name in names)]
    heads += ["false tumor, ml", "lesion precision", "lesion recall"] if "tumor" in names else []
    rows = [
        _row(case, names, scores["dice"], scores, LesionCounts(**scores.get("lesions", {})))
        for case, scores in report["cases"].items()
    ]
    failed = [f"Not scored: {name}: {reason}" for name, reason in report["failed"].items()]
    if not rows:
        return "\n".join(["No case was scored.", *failed]) + "\n"
    means = report["means"]
    average = {name: means[name]["mean"] for name in ("false_tumor_ml", "seconds", "peak_bytes") if name in means}
    counts = LesionCounts(**{field.name: means["lesions"][field.name] for field in fields(LesionCounts)})
    rows.append(
        _row("mean", names, {name: means.get(f"dice_{name}", {}).get("mean") for name in names}, average, counts)
    )
    numbers = ", ".join(f"{means[f'dice_{name}']['n']} for {name}s" for name in names if f"dice_{name}" in means)
    without = [case for case, scores in report["cases"].items() if not scores["liver_found"]]
    lines = [
        pages.table([*heads, "seconds", "memory, GiB"], rows),
        f"Networks: {report['networks']}. Means are over the cases that have a value: {numbers}.",
        *([_lesions(counts)] if "tumor" in names else []),
        *(["Stage 2 was given the labeled liver."] if report["true_liver"] else []),
        *([f"No liver was found in {', '.join(without)}."] if without else []),
        *failed,
    ]
    return "\n".join(lines) + "\n"


def _lesions(counts: LesionCounts) -> str:
    return (
        f"Lesions are counted over all cases: {counts.found} of {counts.reference} found, {counts.confirmed} of "
        f"{counts.predicted} confirmed."
    )


def _row(
    case: str, names: list[str], dice: dict[str, float | None], scores: dict[str, Any], lesions: LesionCounts
) -> list[str]:
    """Return the cells of a row."""
    cells = [_cell(dice.get(name), ".3f") for name in names]
    if "tumor" in names:
        cells += [_cell(scores.get("false_tumor_ml"), ".1f")]
        cells += [_cell(lesions.precision, ".2f"), _cell(lesions.recall, ".2f")]
    peak = scores.get("peak_bytes")
    return [case, *cells, _cell(scores.get("seconds"), ".0f"), _cell(None if peak is None else peak / 2**30, ".2f")]


def _cell(value: float | None, shape: str) -> str:
    return "-" if value is None else format(value, shape)
