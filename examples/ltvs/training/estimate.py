"""How long a training would take, from a few real steps."""

import copy
import math
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import chain, count, islice

import torch
from lightning_fabric import Fabric

from ltvs.dataset.layout import PreparedSet
from ltvs.model.networks import make_network
from ltvs.model.stages import Stage
from ltvs.training.devices import memory_errors
from ltvs.training.loader import PatchLoader
from ltvs.training.loop import make_loader
from ltvs.training.settings import TrainSettings
from ltvs.training.step import Learner, Sample
from ltvs.training.validation import validate

#: Timed, after one that is not.
STEPS = 3


@dataclass(frozen=True)
class Estimate:
    """What a stage costs.

    Args:
        step: seconds, of all devices together.
        steps: of an epoch.
        epochs: of the training.
        case: seconds to validate one.
        cases: of a validation, that a device has at most.
        validations: of the training.
    """

    step: float
    steps: int
    epochs: int
    case: float
    cases: int
    validations: int

    @property
    def seconds(self) -> float:
        """Of the whole.

        Example:
            >>> Estimate(step=2.0, steps=5, epochs=3, case=10.0, cases=4, validations=2).seconds
            110.0
        """
        return self.epochs * self.steps * self.step + self.validations * self.cases * self.case

    def __str__(self) -> str:
        return (
            f"{duration(self.seconds)}: {self.epochs} epochs of {self.steps} steps of {self.step:.2f} s, "
            f"{self.validations} validations of {self.cases} cases of {self.case:.2f} s"
        )


def estimate_stage(fabric: Fabric, data: PreparedSet, stage: Stage, settings: TrainSettings) -> Estimate:
    """Time real steps, and the validation of one case, with a network that is thrown away.

    Raises:
        InputError: no training cases, or memory ran out.
    """
    with closing(make_loader(fabric, data, stage, settings)) as loader, memory_errors(settings):
        learner = Learner(fabric, make_network(settings.network(stage)), settings, settings.epochs * loader.steps)
        times = []
        for parts in islice(_steps(loader), 1 + STEPS):
            learner.backward(parts)
            learner.update()
            times.append(_now(fabric))
        step = (times[-1] - times[0]) / STEPS
        one = copy.copy(data)
        one.split = data.split | {"validation": data.split["validation"][:1]}
        began = _now(fabric)
        validate(learner.net, one, stage, settings, fabric)
        case = _now(fabric) - began
    cases = math.ceil(len(data.split["validation"]) / fabric.world_size)
    validations = math.ceil(settings.epochs / settings.validate_every)
    return Estimate(step, loader.steps, settings.epochs, case, cases, validations)


def duration(seconds: float) -> str:
    """In the largest two units that fit.

    Example:
        >>> duration(97), duration(2 * 86400 + 3 * 3600 + 59)
        ('1 min 37 s', '2 d 3 h')
    """
    units = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))
    rest, parts = round(seconds), []
    for name, length in units:
        amount, rest = divmod(rest, length)
        parts.append(f"{amount} {name}")
    first = next((i for i, part in enumerate(parts) if not part.startswith("0 ")), len(parts) - 1)
    return " ".join(parts[first : first + 2])


def _steps(loader: PatchLoader) -> Iterator[list[Sample]]:
    """Of one epoch after another."""
    return chain.from_iterable(loader.epoch(epoch) for epoch in count(1))


def _now(fabric: Fabric) -> float:
    """The time when all that was asked of the device is done."""
    if fabric.device.type == "cuda":
        torch.cuda.synchronize(fabric.device)
    return time.perf_counter()
