"""A trained network on test cases: the class of each voxel, and Dice, IoU and clDice by the pipeline's metrics."""

from collections.abc import Iterable

import numpy as np
import torch
from jaxtyping import UInt8
from numpy import ndarray

from benchmarks.accuracy.cases import Prepared
from benchmarks.accuracy.task import Triple
from crossattn3d import UNet3d
from ltvs.evaluation.metrics import cldice, dice, iou
from ltvs.model.inference import predict_probabilities
from ltvs.model.stages import CLASSES

#: The classes that are scored.
LABELS = CLASSES[2][1:]

Scores = dict[str, dict[str, float | None]]


def predicted(net: UNet3d, case: Prepared, patch: Triple, device: torch.device) -> UInt8[ndarray, "d h w"]:
    """Return the class of each voxel, from patches that overlap by a quarter, computed in bfloat16."""
    d, h, w = (size // 4 for size in patch)
    return predict_probabilities(net, case.image, patch, (d, h, w), device, "bf16-mixed").argmax(0).astype(np.uint8)


def scored(prediction: UInt8[ndarray, "d h w"], case: Prepared, *, skeletons: bool) -> Scores:
    """Return the scores by class; with `skeletons`, clDice of the vessels as well."""
    found: Scores = {}
    for number, label in enumerate(LABELS, start=1):
        p, r = prediction == number, case.target == number
        found[label] = {"dice": dice(p, r), "iou": iou(p, r)}
        if skeletons and label == "vessel":
            found[label]["cldice_thinned"] = cldice(p, r)
    return found


def mean_dice(by_case: Iterable[Scores]) -> dict[str, float]:
    """Return the mean Dice of each class over the cases that have a value."""
    cases = list(by_case)
    values = {label: [scores[label]["dice"] for scores in cases] for label in LABELS}
    return {label: float(np.mean([x for x in of_label if x is not None])) for label, of_label in values.items()}
