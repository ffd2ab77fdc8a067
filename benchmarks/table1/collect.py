"""The results of a study gathered: every run that is done, the costs of its system, and what all had in common."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.accuracy.statistics import Array
from benchmarks.table1.budgets import BUDGETS, Run
from benchmarks.table1.cases import HeldOut
from benchmarks.table1.costs import costs_file
from benchmarks.table1.provenance import made_with
from benchmarks.table1.testing import scored_with, scores_of_run
from benchmarks.table1.training import validation_dice
from ltvs.model.saved import stage_folder
from ltvs.model.systems.registry import NETWORKS
from ltvs.runtime.files import read_json
from ltvs.training.run_folder import is_trained

Json = dict[str, Any]


def collected(size: str, runs: Iterable[Run], cases: Sequence[HeldOut], output: Path) -> Json:
    """Return the results of all runs that have been tested on all cases, as JSON holds them."""
    budget = BUDGETS[size]
    scores = {run: found for run in runs if (found := _scores(output / run.name, cases)) is not None}
    return {
        "size": size,
        "budget": asdict(budget) | {"epochs": budget.epochs, "real_steps": budget.real_steps},
        "runs": [
            {
                **asdict(run),
                "validation": validation_dice(run, output),
                "cases": found,
                "made_with": scored_with(output / run.name),
            }
            for run, found in scores.items()
        ],
        "costs": {
            network: read_json(costs_file(network, output))
            for network in NETWORKS
            if costs_file(network, output).is_file()
        },
        "machine": made_with(),
    }


def _scores(run: Path, cases: Sequence[HeldOut]) -> Json | None:
    """Return the scores of a run that is trained and tested on all cases; None for others."""
    return scores_of_run(run, cases) if is_trained(stage_folder(run, 2)) else None


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
