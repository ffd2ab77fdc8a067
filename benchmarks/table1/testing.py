"""The scores of a run: every held-out CT labeled in its own grid, in the liver that stage 1 finds, and compared."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import SimpleITK as sitk

from benchmarks.table1.cases import HeldOut
from ltvs.evaluation.metrics import dice, iou
from ltvs.model.computing import best_device
from ltvs.model.pipeline import Pipeline
from ltvs.model.saved import load_stage
from ltvs.model.shipping import SHIPPED
from ltvs.runtime.files import read_json, write_json
from ltvs.volume.images import read_ct, read_labels, write_volume
from ltvs.volume.labels import TUMOR, VESSEL

STRUCTURES = {"tumor": TUMOR, "vessel": VESSEL}
Scores = dict[str, dict[str, Any]]


def scores_file(run: Path) -> Path:
    """Return the path of the scores of a run, by case."""
    return run / "scores.json"


def prediction_file(run: Path, case: str) -> Path:
    """Return the path of the labels that a run gives a case."""
    return run / "predictions" / f"{case}.nii.gz"


def pipeline_of(run: Path) -> Pipeline:
    """Return the shipped stage 1 and a run's stage 2, which compute in float32."""
    return Pipeline(load_stage(SHIPPED, 1), load_stage(run, 2), best_device(), precision="32")


def score(run: Path, cases: Sequence[HeldOut]) -> Scores:
    """Label and score the cases that have not been, and return the scores of all, by case."""
    file = scores_file(run)
    scores: Scores = read_json(file) if file.is_file() else {}
    missing = [case for case in cases if case.name not in scores]
    pipeline = pipeline_of(run) if missing else None
    for case in missing:
        assert pipeline is not None
        labels = pipeline.label(read_ct(case.ct), read_labels(case.liver), force=True)
        write_volume(labels, prediction_file(run, case.name))
        scores[case.name] = {"real": case.real, **compared(labels, read_labels(case.reference))}
        write_json(file, scores)
    return {case.name: scores[case.name] for case in cases}


def compared(labels: sitk.Image, reference: sitk.Image) -> Scores:
    """Return Dice and IoU of tumors and of vessels in the liver; None if neither has any."""
    found, expected = sitk.GetArrayFromImage(labels), sitk.GetArrayFromImage(reference)
    masks = {name: (found == value, expected == value) for name, value in STRUCTURES.items()}
    return {name: {"dice": dice(*pair), "iou": iou(*pair)} for name, pair in masks.items()}
