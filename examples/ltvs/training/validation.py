"""Dice on the validation cases, and the odds of each class at which it is highest."""

import math
from collections.abc import Callable, Sequence
from typing import cast

import numpy as np
import torch
from jaxtyping import Float, Integer
from numpy import ndarray
from torch import nn

from ltvs.evaluation.metrics import dice
from ltvs.model.certain_tumors import keep_certain_tumors
from ltvs.model.inference import predict_probabilities
from ltvs.model.odds import Factors, all_factors, best_factors, multiply_odds, with_odds
from ltvs.model.stages import CLASSES
from ltvs.training.stage_training import StageTraining


def validate(net: nn.Module, task: StageTraining, check: Callable[[], None] = lambda: None) -> list[float]:
    """Return the mean Dice of each foreground class over the validation cases, on the prepared grid.

    A case whose reference lacks a class is left out of that class's mean, which is nan if all lack it. The processes
    share the cases, and each of them gets the result.

    Args:
        net: on the device of this process.
        task: whose validation cases and patches are used.
        check: called between the cases; it may raise.
    """
    return _mean_over_cases(_scores(net, task, check, [(1.0,) * (len(CLASSES[task.stage]) - 1)])[:, 0])


def calibrate(net: nn.Module, task: StageTraining, check: Callable[[], None] = lambda: None) -> tuple[Factors, float]:
    """Shift the biases of the logits so that the validation Dice is highest; return the factors of odds and the Dice.

    Dice does not penalize a false tumor where a batch holds no true one, and cross-entropy may weigh background less,
    so that networks trained for minutes find too much of one class, and too little of another. Calibrated weights are
    used like any others.
    """
    tried = all_factors(len(CLASSES[task.stage]))
    scores = _scores(net, task, check, tried)
    means = [mean_dice(_mean_over_cases(scores[:, i])) for i in range(len(tried))]
    best = best_factors(means, tried)
    multiply_odds(net, tried[best])
    return tried[best], means[best]


def mean_dice(dice: list[float]) -> float:
    """Return the mean over the classes that are present; 0 if none is."""
    present = [value for value in dice if not math.isnan(value)]
    return float(np.mean(present)) if present else 0.0


def _scores(
    net: nn.Module, task: StageTraining, check: Callable[[], None], tried: Sequence[Factors]
) -> Float[ndarray, "cases tried classes"]:
    """Return Dice of each validation case and class, with the probabilities of the classes multiplied by factors."""
    net.eval()
    data, settings, fabric = task.data, task.settings, task.fabric
    names = data.split["validation"]
    scores = np.zeros((len(names), len(tried), len(CLASSES[task.stage]) - 1))
    for i in range(fabric.global_rank, len(names), fabric.world_size):
        case = data.case(task.stage, names[i])
        hu, labels = np.asarray(case.image), np.asarray(case.labels)
        image = task.view.input(hu, task.view.region(labels), case.hu_offset)
        probabilities = predict_probabilities(
            net, image, settings.patch, settings.overlap, fabric.device, settings.precision
        )
        target = task.view.target(labels)
        for k, factors in enumerate(tried):
            found = with_odds(probabilities, factors)
            if task.stage == 2:
                found = keep_certain_tumors(found)
            scores[i, k] = _dice(found.argmax(axis=0), target, scores.shape[-1])
        check()
    summed = cast("torch.Tensor", fabric.all_reduce(torch.from_numpy(scores), reduce_op="sum"))
    return np.asarray(summed.cpu())


def _dice(found: Integer[ndarray, "d h w"], target: Integer[ndarray, "d h w"], classes: int) -> list[float]:
    """Return Dice of each of the classes from 1 on; nan where the target lacks it."""
    pairs = [(found == k, target == k) for k in range(1, classes + 1)]
    return [dice(*pair) or 0.0 if pair[1].any() else math.nan for pair in pairs]


def _mean_over_cases(scores: Float[ndarray, "cases classes"]) -> list[float]:
    """Return the mean of each class over the cases that have it; nan if none has."""
    present = [column[~np.isnan(column)] for column in scores.T]
    return [float(np.mean(values)) if values.size else math.nan for values in present]
