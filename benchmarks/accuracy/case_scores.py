"""A trained network on test cases: the class of each voxel, and Dice, IoU and clDice by the pipeline's metrics."""

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy import ndarray

from benchmarks.accuracy.cases import Prepared
from benchmarks.accuracy.task import Triple
from crossattn3d import UNet3d
from ltvs.evaluation.metrics import cldice, dice, iou
from ltvs.model.inference import predict_probabilities
from ltvs.model.odds import Factors, all_factors, best_factors, multiply_odds, with_odds
from ltvs.model.stages import CLASSES

#: The classes that are scored.
LABELS = CLASSES[2][1:]

Scores = dict[str, dict[str, float | None]]


def predicted(net: UNet3d, case: Prepared, patch: Triple, device: torch.device) -> UInt8[ndarray, "d h w"]:
    """Return the class of each voxel, from patches that overlap by a quarter, computed in bfloat16."""
    return _probabilities(net, case, patch, device).argmax(0).astype(np.uint8)


def _probabilities(net: UNet3d, case: Prepared, patch: Triple, device: torch.device) -> Float[ndarray, "k d h w"]:
    d, h, w = (size // 4 for size in patch)
    return predict_probabilities(net, case.image, patch, (d, h, w), device, "bf16-mixed")


def calibrate(net: UNet3d, cases: Iterable[Prepared], patch: Triple, device: torch.device) -> Factors:
    """Multiply the odds of each class so that mean Dice over these cases is highest; return the factors.

    A network may rank voxels well and give a class almost the probability of another one; its Dice then depends on
    which of the two is a hair above. A case counts for the classes that it has.
    """
    tried = all_factors(1 + len(LABELS))
    by_case = np.array([_dice_by_factors(net, case, patch, device, tried) for case in cases])
    known = ~np.isnan(by_case[:, 0])
    present = [k for k in range(len(LABELS)) if known[:, k].any()]
    means = sum((by_case[known[:, k], :, k].mean(axis=0) for k in present), start=np.zeros(len(tried)))
    best = tried[best_factors(list(means), tried)]
    multiply_odds(net, best)
    return best


def _dice_by_factors(
    net: UNet3d, case: Prepared, patch: Triple, device: torch.device, tried: Sequence[Factors]
) -> Float[ndarray, "tried classes"]:
    """Return Dice of each class with the odds multiplied by factors; nan for a class that the case lacks."""
    probabilities = _probabilities(net, case, patch, device)
    rows = np.full((len(tried), len(LABELS)), np.nan)
    for i, factors in enumerate(tried):
        prediction = with_odds(probabilities, factors).argmax(0)
        for k in range(len(LABELS)):
            if (target := case.target == k + 1).any():
                rows[i, k] = dice(prediction == k + 1, target)
    return rows


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
