"""An estimate of the duration of a training, from a few real steps."""

import copy
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain, count, islice
from typing import TYPE_CHECKING

import torch

from ltvs.model.networks import make_network
from ltvs.training.devices import memory_errors
from ltvs.training.loader import PatchLoader, make_loader
from ltvs.training.stage_training import StageTraining
from ltvs.training.step import Learner, Sample
from ltvs.training.validation import validate

if TYPE_CHECKING:
    from lightning_fabric import Fabric

#: Number of timed steps, after one that is not timed.
STEPS = 3


@dataclass(frozen=True)
class Estimate:
    """The time that training a stage takes.

    Args:
        step: seconds of a step, which all devices compute together.
        steps: of an epoch.
        epochs: of the training.
        case: seconds to validate one case.
        cases: of a validation on one device, at most.
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
        """The time of the whole training.

        Example:
            >>> Estimate(step=2.0, steps=5, epochs=3, case=10.0, cases=4, validations=2).seconds
            110.0
        """
        return self.epochs * self.steps * self.step + self.validations * self.cases * self.case

    def __str__(self) -> str:
        return (
            f"{duration(self.seconds)} ({self.epochs} epochs x {self.steps} steps x {self.step:.2f} s, "
            f"{self.validations} validations x {self.cases} cases x {self.case:.2f} s)"
        )


def estimate_stage(task: StageTraining) -> Estimate:
    """Time real steps, and the validation of one case, with a network that is thrown away.

    Raises:
        InputError: no training cases, or memory ran out.
    """
    fabric, settings, split = task.fabric, task.settings, task.data.split
    with make_loader(task) as loader, memory_errors(settings):
        net = make_network(settings.network_of(task.stage))
        learner = Learner(fabric, net, settings, settings.epochs * loader.steps)
        times = []
        for micro_batches in islice(_steps(loader), 1 + STEPS):
            learner.backward(micro_batches)
            learner.update()
            times.append(_now(fabric))
        step = (times[-1] - times[0]) / STEPS
        one_case = copy.copy(task.data)
        one_case.split = split | {"validation": split["validation"][:1]}
        began = _now(fabric)
        validate(learner.result, replace(task, data=one_case))
        case = _now(fabric) - began
    cases = math.ceil(len(split["validation"]) / fabric.world_size)
    validations = math.ceil(settings.epochs / settings.validate_every)
    return Estimate(step, loader.steps, settings.epochs, case, cases, validations)


def duration(seconds: float) -> str:
    """Return a time in the largest two units that fit.

    Example:
        >>> duration(97), duration(2 * 86400 + 3 * 3600 + 59)
        ('1 min 37 s', '2 d 3 h')
    """
    units = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))
    rest, amounts = round(seconds), []
    for name, length in units:
        amount, rest = divmod(rest, length)
        amounts.append(f"{amount} {name}")
    first = next((i for i, part in enumerate(amounts) if not part.startswith("0 ")), len(amounts) - 1)
    return " ".join(amounts[first : first + 2])


def _steps(loader: PatchLoader) -> Iterator[list[Sample]]:
    """Yield the steps of one epoch after another."""
    return chain.from_iterable(loader.epoch(epoch) for epoch in count(1))


def _now(fabric: "Fabric") -> float:
    """Return the time once the device has finished its work."""
    if fabric.device.type == "cuda":
        torch.cuda.synchronize(fabric.device)
    return time.perf_counter()
