"""How much every system is trained, in two sizes: for hours on two cores, and for GPUs."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from demo_steps import CTS
from ltvs.model.systems.registry import NETWORKS, Network

Triple = tuple[int, int, int]

#: Phantoms on their own CTs: training takes maps of other patients.
PHANTOMS = f"{CTS} --seed 3000"
#: Patches of every map in an epoch.
RENDERED = 4
#: The learning rate that all systems are trained with: the paper's.
COMMON_RATE = 1e-3


@dataclass(frozen=True)
class Budget:
    """What every system gets.

    Args:
        grids: of the data set, as options of prepare_ltvs.py.
        maps: synthetic patients to train on.
        validation: phantoms that choose the best weights.
        test: phantoms that nothing is chosen by.
        patch: (d, h, w) voxels.
        overlap: of neighboring patches in prediction, voxels.
        batch: patches in a step.
        steps: of training, at least.
        validations: over the training.
        seeds: of the runs.
        rates: learning rates to try, the common one first.
        workers: processes that render patches.
    """

    grids: str
    maps: int
    validation: int
    test: int
    patch: Triple
    overlap: Triple
    batch: int
    steps: int
    validations: int
    seeds: tuple[int, ...]
    rates: tuple[float, ...]
    workers: int

    @property
    def epochs(self) -> int:
        """Passes over the maps, a multiple of the validations."""
        epochs = self.steps * self.batch / (RENDERED * self.maps)
        return self.validations * math.ceil(epochs / self.validations)

    @property
    def real_steps(self) -> int:
        """Steps that these epochs have."""
        return self.epochs * (RENDERED * self.maps // self.batch)


BUDGETS = {
    "cpu": Budget(
        grids="--pixels 32 --slice-spacing 8 --liver-pixels 96 --liver-slice-spacing 2.5",
        maps=40,
        validation=2,
        test=12,
        patch=(16, 48, 48),
        overlap=(8, 0, 0),
        batch=2,
        steps=600,
        validations=2,
        seeds=(0,),
        rates=(COMMON_RATE,),
        workers=1,
    ),
    "gpu": Budget(
        grids="--pixels 32 --slice-spacing 8 --liver-pixels 224 --liver-slice-spacing 1.25",
        maps=200,
        validation=6,
        test=20,
        patch=(32, 160, 160),
        overlap=(16, 80, 80),
        batch=4,
        steps=6000,
        validations=6,
        seeds=(0, 1, 2),
        rates=(COMMON_RATE, 3e-4, 3e-3),
        workers=0,
    ),
}


@dataclass(frozen=True)
class Run:
    """One training of a system.

    Args:
        network: of Table 1.
        seed: of weights and patches.
        rate: learning rate at the start.
    """

    network: Network
    seed: int
    rate: float

    @property
    def name(self) -> str:
        """The name of its folder.

        Example:
            >>> Run("vnet", 1, 3e-4).name
            'vnet-seed1-rate0.0003'
        """
        return f"{self.network}-seed{self.seed}-rate{self.rate:g}"


def first_runs(budget: Budget, networks: tuple[Network, ...] = NETWORKS) -> Iterator[Run]:
    """Yield the runs that every budget has: all systems at the common rate, seed by seed; then other rates, one seed.

    In this order, a table that is cut short compares like with like.
    """
    for seed in budget.seeds:
        yield from (Run(network, seed, COMMON_RATE) for network in networks)
    for rate in budget.rates:
        if rate != COMMON_RATE:
            yield from (Run(network, budget.seeds[0], rate) for network in networks)


def best_runs(budget: Budget, best: dict[Network, float]) -> Iterator[Run]:
    """Yield the runs of the other seeds at each system's best rate, where that is not the common one."""
    for seed in budget.seeds[1:]:
        yield from (Run(network, seed, rate) for network, rate in best.items() if rate != COMMON_RATE)
