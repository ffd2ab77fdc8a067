"""Dice on the validation cases, and the odds of background at which it is highest."""

import math
from collections.abc import Callable, Sequence
from typing import cast

import numpy as np
import torch
from jaxtyping import Float, Integer
from numpy import ndarray

from crossattn3d import UNet3d
from ltvs.model.inference import predict_probabilities
from ltvs.model.stages import CLASSES
from ltvs.training.stage_training import StageTraining

#: Factors by which `calibrate` tries to multiply the odds of background.
FACTORS = (0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 4.0)


def validate(net: UNet3d, task: StageTraining, check: Callable[[], None] = lambda: None) -> list[float]:
    """Return the mean Dice of each foreground class over the validation cases, on the prepared grid.

    A case whose reference lacks a class is left out of that class's mean, which is nan if all lack it. The processes
    share the cases, and each of them gets the result.

    Args:
        net: on the device of this process.
        task: whose validation cases and patches are used.
        check: called between the cases; it may raise.
    """
    return _mean_over_cases(_scores(net, task, check, [1.0])[:, 0])


def calibrate(net: UNet3d, task: StageTraining, check: Callable[[], None] = lambda: None) -> tuple[float, float]:
    """Shift the bias of background's logit so that the validation Dice is highest; return the factor and the Dice.

    Dice does not penalize a false tumor where a batch holds no true one, and cross-entropy may weigh background less,
    so that networks trained for minutes find too much. Calibrated weights are used like any others.
    """
    scores = _scores(net, task, check, FACTORS)
    means = {factor: mean_dice(_mean_over_cases(scores[:, i])) for i, factor in enumerate(FACTORS)}
    best = max(FACTORS, key=lambda factor: (means[factor], -abs(math.log(factor))))
    bias = net.head.bias
    assert bias is not None
    with torch.no_grad():
        bias[0] += math.log(best)
    return best, means[best]


def mean_dice(dice: list[float]) -> float:
    """Return the mean over the classes that are present; 0 if none is."""
    present = [value for value in dice if not math.isnan(value)]
    return float(np.mean(present)) if present else 0.0


def _scores(
    net: UNet3d, task: StageTraining, check: Callable[[], None], factors: Sequence[float]
) -> Float[ndarray, "cases factors classes"]:
    """Return Dice of each validation case and class, with background's probability multiplied by each factor."""
    net.eval()
    data, settings, fabric = task.data, task.settings, task.fabric
    names = data.split["validation"]
    scores = np.zeros((len(names), len(factors), len(CLASSES[task.stage]) - 1))
    for i in range(fabric.global_rank, len(names), fabric.world_size):
        case = data.case(task.stage, names[i])
        hu, labels = np.asarray(case.image), np.asarray(case.labels)
        image = task.view.input(hu, task.view.region(labels), case.hu_offset)
        probabilities = predict_probabilities(
            net, image, settings.patch, settings.overlap, fabric.device, settings.precision
        )
        target = task.view.target(labels)
        for k, factor in enumerate(factors):
            scores[i, k] = _dice(np.concatenate([factor * probabilities[:1], probabilities[1:]]), target)
        check()
    summed = cast("torch.Tensor", fabric.all_reduce(torch.from_numpy(scores), reduce_op="sum"))
    return np.asarray(summed.cpu())


def _dice(probabilities: Float[ndarray, "k d h w"], target: Integer[ndarray, "d h w"]) -> list[float]:
    """Return Dice of each foreground class; nan where the target lacks it."""
    from monai.metrics import compute_dice

    predicted, expected = (
        torch.nn.functional.one_hot(torch.as_tensor(x).long(), len(probabilities)).movedim(-1, 0)[None]
        for x in (probabilities.argmax(0), target)
    )
    return [float(value) for value in compute_dice(predicted, expected, include_background=False)[0]]


def _mean_over_cases(scores: Float[ndarray, "cases classes"]) -> list[float]:
    """Return the mean of each class over the cases that have it; nan if none has."""
    present = [column[~np.isnan(column)] for column in scores.T]
    return [float(np.mean(values)) if values.size else math.nan for values in present]
