"""The scores of a run: every held-out CT labeled in its own grid, in the liver that stage 1 finds, and compared."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import SimpleITK as sitk

from benchmarks.table1.cases import HeldOut
from benchmarks.table1.provenance import made_with
from ltvs.evaluation.metrics import dice, iou
from ltvs.model.computing import best_device
from ltvs.model.pipeline import Pipeline
from ltvs.model.saved import load_stage, stage_folder
from ltvs.model.shipping import SHIPPED
from ltvs.runtime.files import read_json, write_json
from ltvs.volume.images import read_ct, read_labels, write_volume
from ltvs.volume.labels import TUMOR, VESSEL

STRUCTURES = {"tumor": TUMOR, "vessel": VESSEL}
Json = dict[str, Any]


def prediction_file(run: Path, case: str) -> Path:
    """Return the path of the labels that a run gives a case."""
    return run / "predictions" / f"{case}.nii.gz"


def pipeline_of(run: Path) -> Pipeline:
    """Return the shipped stage 1 and a run's stage 2, which compute in float32."""
    return Pipeline(load_stage(SHIPPED, 1), load_stage(run, 2), best_device(), precision="32")


def scores_of_run(run: Path, cases: Sequence[HeldOut]) -> Json | None:
    """Return what `score` has written: the scores by case; None unless all cases have them, by the weights there are.

    Args:
        run: its folder.
        cases: all that are asked for.
    """
    found = _kept(run)
    if not all(case.name in found for case in cases):
        return None
    return {case.name: found[case.name] for case in cases}


def scored_with(run: Path) -> Json:
    """Return device, versions and commit that the last case of a run was scored with."""
    return dict(read_json(_file(run))["made_with"])


def score(run: Path, cases: Sequence[HeldOut], deadline: float) -> bool:
    """Label and score the cases that have not been; return whether all are done, and not ended by the deadline.

    Args:
        run: its folder.
        cases: to label.
        deadline: as `time.monotonic` counts, after which no case begins.
    """
    scores = _kept(run)
    missing = [case for case in cases if case.name not in scores]
    pipeline = pipeline_of(run) if missing else None
    for case in missing:
        if time.monotonic() > deadline:
            return False
        assert pipeline is not None
        labels = pipeline.label(read_ct(case.ct), read_labels(case.liver), force=True)
        write_volume(labels, prediction_file(run, case.name))
        scores[case.name] = {"real": case.real, **compared(labels, read_labels(case.reference))}
        write_json(_file(run), {"weights": _weights(run), "made_with": made_with(), "cases": scores})
    return True


def compared(labels: sitk.Image, reference: sitk.Image) -> Json:
    """Return Dice and IoU of tumors and of vessels in the liver; None if neither has any."""
    found, expected = sitk.GetArrayFromImage(labels), sitk.GetArrayFromImage(reference)
    masks = {name: (found == value, expected == value) for name, value in STRUCTURES.items()}
    return {name: {"dice": dice(*pair), "iou": iou(*pair)} for name, pair in masks.items()}


def _file(run: Path) -> Path:
    return run / "scores.json"


def _kept(run: Path) -> Json:
    """Return the scores by case that were made with the weights that the run has now."""
    content = read_json(_file(run)) if _file(run).is_file() else {}
    return dict(content["cases"]) if content and content["weights"] == _weights(run) else {}


def _weights(run: Path) -> str:
    return str(read_json(stage_folder(run, 2) / "result.json")["weights"])
