"""A trained network on test cases: the class of each voxel, and Dice, IoU and clDice by the pipeline's metrics."""

from collections.abc import Iterable
from itertools import product

import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy import ndarray

from benchmarks.accuracy.cases import Prepared
from benchmarks.accuracy.task import Triple
from crossattn3d import UNet3d
from ltvs.evaluation.metrics import cldice, dice, iou
from ltvs.model.inference import predict_probabilities
from ltvs.model.stages import CLASSES

#: The classes that are scored.
LABELS = CLASSES[2][1:]
#: Factors of odds that are tried, those of training; its module takes packages that the study does without.
FACTORS = (0.25, 0.35, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0)

Scores = dict[str, dict[str, float | None]]


def predicted(net: UNet3d, case: Prepared, patch: Triple, device: torch.device) -> UInt8[ndarray, "d h w"]:
    """Return the class of each voxel, from patches that overlap by a quarter, computed in bfloat16."""
    return _probabilities(net, case, patch, device).argmax(0).astype(np.uint8)


def _probabilities(net: UNet3d, case: Prepared, patch: Triple, device: torch.device) -> Float[ndarray, "k d h w"]:
    d, h, w = (size // 4 for size in patch)
    return predict_probabilities(net, case.image, patch, (d, h, w), device, "bf16-mixed")


def calibrate(net: UNet3d, cases: Iterable[Prepared], patch: Triple, device: torch.device) -> tuple[float, ...]:
    """Multiply the odds of each class so that mean Dice over these cases is highest; return the factors.

    A network may rank voxels well and give a class almost the probability of another one; its Dice then depends on
    which of the two is a hair above. A case counts for the classes that it has.
    """
    tried = list(product(FACTORS, repeat=len(LABELS)))
    by_case = np.array([_dice_by_factors(net, case, patch, device, tried) for case in cases])
    known = ~np.isnan(by_case[:, 0])
    present = [k for k in range(len(LABELS)) if known[:, k].any()]
    means = sum((by_case[known[:, k], :, k].mean(axis=0) for k in present), start=np.zeros(len(tried)))
    # Of factors that score alike, those that change least.
    best = max(range(len(tried)), key=lambda i: (means[i], -np.abs(np.log(tried[i])).sum()))
    assert net.head.bias is not None, "the head has a bias"
    with torch.no_grad():
        net.head.bias[1:] += torch.tensor(tried[best], device=net.head.bias.device).log()
    return tried[best]


def _dice_by_factors(
    net: UNet3d, case: Prepared, patch: Triple, device: torch.device, tried: list[tuple[float, ...]]
) -> Float[ndarray, "tried classes"]:
    """Return Dice of each class with the odds multiplied by factors; nan for a class that the case lacks."""
    probabilities = _probabilities(net, case, patch, device)
    rows = np.full((len(tried), len(LABELS)), np.nan)
    for i, factors in enumerate(tried):
        prediction = (np.array((1.0, *factors), np.float32)[:, None, None, None] * probabilities).argmax(0)
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
