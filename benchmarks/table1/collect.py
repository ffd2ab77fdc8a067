"""The results of a study gathered: every run that is done, the costs of its system, and what all had in common."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.accuracy.statistics import Array
from benchmarks.machine import PACKAGES, machine
from benchmarks.table1.budgets import BUDGETS, Run
from benchmarks.table1.cases import HeldOut
from benchmarks.table1.costs import costs_file
from benchmarks.table1.testing import scores_file
from benchmarks.table1.training import validation_dice
from ltvs.model.computing import best_device
from ltvs.model.systems.registry import NETWORKS
from ltvs.runtime.files import read_json

Json = dict[str, Any]


def collected(size: str, runs: Iterable[Run], cases: Sequence[HeldOut], output: Path) -> Json:
    """Return the results of all runs that have been scored, as JSON holds them."""
    budget = BUDGETS[size]
    done = [run for run in runs if scores_file(output / run.name).is_file()]
    names = {case.name for case in cases}
    return {
        "size": size,
        "budget": asdict(budget) | {"epochs": budget.epochs, "real_steps": budget.real_steps},
        "runs": [
            asdict(run)
            | {"validation": validation_dice(run, output)}
            | {"cases": {k: v for k, v in read_json(scores_file(output / run.name)).items() if k in names}}
            for run in done
        ],
        "costs": {
            network: read_json(costs_file(network, output))
            for network in NETWORKS
            if costs_file(network, output).is_file()
        },
        "machine": machine(torch.device(best_device()), (*PACKAGES, "SimpleITK")),
    }


def scores_of(report: Json, network: str, rate: float, structure: str, score: str, *, real: bool) -> Array:
    """Return the scores of a system at a rate, (seeds, cases), percent, NaN where a case has none.

    Args:
        report: as `collected` returns it.
        network: of Table 1.
        rate: learning rate.
        structure: `tumor` or `vessel`.
        score: `dice` or `iou`.
        real: of the real CTs, or of the phantoms.
    """
    runs = [run for run in report["runs"] if (run["network"], run["rate"]) == (network, rate)]
    rows = [
        [np.nan if (value := case[structure][score]) is None else 100 * value for case in _cases(run, real)]
        for run in sorted(runs, key=lambda run: run["seed"])
    ]
    return np.array(rows, dtype=np.float64) if rows else np.zeros((0, 0))


def best_rate(report: Json, network: str) -> float | None:
    """Return the learning rate with the best validation Dice of the first seed; None if none was run."""
    first = report["budget"]["seeds"][0]
    tried = {run["rate"]: run["validation"] for run in report["runs"]
             if (run["network"], run["seed"]) == (network, first)}  # fmt: skip
    return max(tried, key=lambda rate: tried[rate], default=None)


def _cases(run: Json, real: bool) -> list[Json]:
    return [case for _, case in sorted(run["cases"].items()) if case["real"] == real]
