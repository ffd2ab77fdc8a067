"""What a network scores on the validation cases, and how sure it has to be before it calls a voxel foreground."""

import math
from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Float, Integer
from monai.metrics import compute_dice
from numpy import ndarray

from crossattn3d import UNet3d
from ltvs.inference import predict_probabilities
from ltvs.prepared import PreparedSet
from ltvs.settings import TrainSettings
from ltvs.stages import CLASSES, Stage, liver_region, network_input, network_target

#: What `calibrate` tries to multiply the odds of background by.
FACTORS = (0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 4.0)


def validate(net: UNet3d, data: PreparedSet, stage: Stage, settings: TrainSettings) -> list[float]:
    """Dice of each class but background over the validation cases, on the prepared grid.

    A class that is absent from the reference of a case is left out of that class's mean; nan if from all.
    """
    found = _predictions(net, data, stage, settings)
    return _mean_over_cases([_dice_of_classes(probabilities, target) for probabilities, target in found], stage)


def calibrate(net: UNet3d, data: PreparedSet, stage: Stage, settings: TrainSettings) -> tuple[float, float]:
    """Shift the bias of background's logit so that the validation Dice is highest; the factor and the Dice.

    Dice does not punish a false tumour where a batch holds no true one, and cross-entropy may weigh background less, so
    that networks trained for minutes find too much. Calibrated weights are used like any others.
    """
    scores: dict[float, list[list[float]]] = {factor: [] for factor in FACTORS}
    for probabilities, target in _predictions(net, data, stage, settings):
        for factor in FACTORS:
            weighed = np.concatenate([factor * probabilities[:1], probabilities[1:]])
            scores[factor].append(_dice_of_classes(weighed, target))
    means = {factor: mean_dice(_mean_over_cases(of_cases, stage)) for factor, of_cases in scores.items()}
    best = max(FACTORS, key=lambda factor: (means[factor], -abs(math.log(factor))))
    bias = net.head.bias
    assert bias is not None
    with torch.no_grad():
        bias[0] += math.log(best)
    return best, means[best]


def mean_dice(dice: list[float]) -> float:
    """The mean over the classes that were there; 0 if none was."""
    present = [value for value in dice if not math.isnan(value)]
    return float(np.mean(present)) if present else 0.0


def _predictions(
    net: UNet3d, data: PreparedSet, stage: Stage, settings: TrainSettings
) -> Iterator[tuple[Float[ndarray, "k d h w"], Integer[ndarray, "d h w"]]]:
    """Probabilities and the class of each voxel of every validation case."""
    net.eval()
    for name in data.split["validation"]:
        case = data.case(stage, name)
        hu, labels, window = np.asarray(case.image), np.asarray(case.labels), data.preparation.window
        region = liver_region(labels, stage)
        image = network_input(hu, region, window, case.zero)
        probabilities = predict_probabilities(
            net, image, settings.patch, settings.overlap, torch.device(settings.device), settings.precision
        )
        yield probabilities, network_target(labels, stage)


def _dice_of_classes(probabilities: Float[ndarray, "k d h w"], target: Integer[ndarray, "d h w"]) -> list[float]:
    """Dice of each class but background; nan where the target lacks it."""
    predicted, expected = (
        torch.nn.functional.one_hot(torch.as_tensor(x).long(), len(probabilities)).movedim(-1, 0)[None]
        for x in (probabilities.argmax(0), target)
    )
    return [float(value) for value in compute_dice(predicted, expected, include_background=False)[0]]


def _mean_over_cases(scores: list[list[float]], stage: Stage) -> list[float]:
    """The mean of each class over the cases that have it; nan if none has."""
    columns = zip(*scores, strict=True) if scores else ([] for _ in CLASSES[stage][1:])
    present = [[value for value in column if not math.isnan(value)] for column in columns]
    return [float(np.mean(values)) if values else math.nan for values in present]
