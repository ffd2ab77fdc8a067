"""The odds of the classes: the factors that calibration tries, and a network with changed odds.

A network may rank voxels well, and still give one class too much probability and another too little.
"""

import math
from collections.abc import Sequence
from itertools import product
from typing import cast

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import nn

#: Factors by which the odds of each class but background may be multiplied.
FACTORS = (0.25, 0.35, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0)

#: One for each class but background.
Factors = tuple[float, ...]


def all_factors(classes: int) -> list[Factors]:
    """Return all combinations of factors for this many classes, background among them."""
    return list(product(FACTORS, repeat=classes - 1))


def best_factors(means: Sequence[float], tried: Sequence[Factors]) -> int:
    """Return the place of the factors with the highest mean; of those that score alike, of the ones nearest to 1."""
    return max(range(len(tried)), key=lambda i: (means[i], -sum(abs(math.log(factor)) for factor in tried[i])))


def with_odds(probabilities: Float[ndarray, "k d h w"], factors: Factors) -> Float[ndarray, "k d h w"]:
    """Return probabilities, not scaled to sum to 1, with the odds of each class but background multiplied."""
    weights: Float[ndarray, "k 1 1 1"] = np.array((1.0, *factors), dtype=np.float32)[:, None, None, None]
    return np.asarray(weights * probabilities)


def multiply_odds(net: nn.Module, factors: Factors) -> None:
    """Multiply the odds of each class but background that a network finds, by the biases of its last convolution."""
    *_, last = (module for module in cast("nn.Module", net.head).modules() if isinstance(module, nn.Conv2d | nn.Conv3d))
    bias = last.bias
    assert bias is not None, "every network ends with a convolution that has one"
    with torch.no_grad():
        bias[1:] += torch.tensor(factors, dtype=bias.dtype, device=bias.device).log()
