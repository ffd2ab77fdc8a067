"""Scores of one case and of a cohort: Dice, false tumors, lesions, time and memory."""

import re
import time
from collections.abc import Collection, Mapping
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import SimpleITK as sitk

from ltvs.evaluation.lesion_counts import LesionCounts, count_lesions_by_size
from ltvs.evaluation.metrics import Mask, dice
from ltvs.model.pipeline import NoLiverError, Pipeline
from ltvs.runtime.errors import InputError
from ltvs.volume.case import Case
from ltvs.volume.grids import Grid
from ltvs.volume.hounsfield import not_hu
from ltvs.volume.labels import BACKGROUND, TUMOR, VESSEL, Structure

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def reference_masks(case: Case, structures: Collection[Structure]) -> dict[Structure, Mask]:
    """Return the masks that a case is scored against, as preparation composes them.

    Tumors lie over vessels. The liver includes them, and vessels outside it do not count, where it is labeled.

    Args:
        case: as a source loads it.
        structures: those that are labeled and asked for.
    """
    liver, tumor = (sitk.GetArrayFromImage(mask) > 0 for mask in (case.liver, case.tumor))
    masks: dict[Structure, Mask] = {"liver": liver | tumor, "tumor": tumor}
    if case.vessel is not None:
        vessel = (sitk.GetArrayFromImage(case.vessel) > 0) & ~tumor
        masks["vessel"] = vessel & liver if liver.any() else vessel
    return {name: masks[name] for name in structures if name in masks}


def score(
    case: Case, pipeline: Pipeline, structures: Collection[Structure], true_liver: bool = False
) -> dict[str, Any]:
    """Label a CT and return its scores, as JSON holds them.

    Args:
        case: as a source loads it.
        pipeline: labels it; where it finds no liver, the prediction is empty.
        structures: those that are labeled and asked for.
        true_liver: whether stage 2 is given the labeled liver instead of the one that stage 1 finds.

    Returns:
        `dice` by structure, null if neither map has it; `false_tumor_ml` and `lesions` if tumors are scored;
        `liver_found`; `seconds` that labeling took, and `peak_bytes`, the most that the process held meanwhile, null
        where the system does not say.

    Raises:
        InputError: the CT is not in HU, or no liver is labeled, though it is to be given.
    """
    if (reason := not_hu(sitk.GetArrayViewFromImage(case.ct))) is not None:
        raise InputError(f"{case.name}: expected HU, got a {reason}")
    references, ml = reference_masks(case, structures), float(np.prod(case.ct.GetSpacing())) / 1000
    _forget_peak()
    given = _labeled_liver(case, references) if true_liver else None
    start = time.perf_counter()
    try:
        # Forced, since a liver of odd values is a fault of the network here.
        labels = sitk.GetArrayFromImage(pipeline.label(case.ct, given, force=True))
    except NoLiverError:
        labels = np.zeros(case.ct.GetSize()[::-1], np.uint8)
    seconds, peak = time.perf_counter() - start, _peak()
    found = {"liver": labels > BACKGROUND, "tumor": labels == TUMOR, "vessel": labels == VESSEL}
    scores: dict[str, Any] = {
        "dice": {name: dice(found[name], reference) for name, reference in references.items()},
        "liver_found": bool(labels.any()),
        "seconds": seconds,
        "peak_bytes": peak,
    }
    if "tumor" in references:
        scores["false_tumor_ml"] = float(np.count_nonzero(found["tumor"] & ~references["tumor"]) * ml)
        counts = count_lesions_by_size(found["tumor"], references["tumor"], Grid.of(case.ct))
        scores["lesions"] = asdict(sum(counts.values(), LesionCounts()))
    return scores


def _labeled_liver(case: Case, references: Mapping[Structure, Mask]) -> sitk.Image:
    if not references["liver"].any():
        raise InputError("no liver is labeled that stage 2 could be given")
    return Grid.of(case.ct).place(sitk.GetImageFromArray(references["liver"].view(np.uint8)))


def means(cases: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """Return means over the cases that have a value, each with their number `n`; lesions are counted over all cases."""
    values: dict[str, list[float]] = {}
    for scores in cases.values():
        row = {f"dice_{name}": value for name, value in scores["dice"].items()}
        row |= {name: scores.get(name) for name in ("false_tumor_ml", "seconds", "peak_bytes")}
        for name, value in row.items():
            values.setdefault(name, []).extend([] if value is None else [value])
    summary: dict[str, Any] = {name: {"mean": fmean(of) if of else None, "n": len(of)} for name, of in values.items()}
    lesions = sum((LesionCounts(**scores.get("lesions", {})) for scores in cases.values()), LesionCounts())
    summary["lesions"] = asdict(lesions) | {"precision": lesions.precision, "recall": lesions.recall}
    return summary


def _forget_peak() -> None:
    """Make the system measure the most memory from now on; Linux only."""
    if _CLEAR.exists():
        _CLEAR.write_text("5")


def _peak() -> int | None:
    """Return the most bytes that this process has held since they were forgotten; None where it is not Linux."""
    found = re.search(r"^VmHWM:\s+(\d+) kB$", _STATUS.read_text(), re.MULTILINE) if _CLEAR.exists() else None
    return int(found[1]) * 1024 if found else None
