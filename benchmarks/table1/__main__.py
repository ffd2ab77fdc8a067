"""Train the ten systems of the paper's Table 1 on the same cases, and test them alike.

`--size cpu` takes hours on two cores. `--size gpu` has larger patches, several seeds and several learning rates. To
continue an interrupted study, give the same command again: it keeps what is done. `--minutes` ends the study with
status 75 at the next checkpoint or CT, but not while it makes the patients. `--counts` trains nothing: it compares the
numbers of parameters with the paper's.
"""

import argparse
import math
import signal
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from benchmarks.real_cases.cohorts import COHORTS, LABELED
from benchmarks.reports import finish
from benchmarks.table1 import counts, tables
from benchmarks.table1.budgets import BUDGETS, COMMON_RATE, Run, best_runs, first_runs
from benchmarks.table1.cases import HeldOut, held_out, prepare
from benchmarks.table1.collect import best_rate, collected
from benchmarks.table1.costs import measured
from benchmarks.table1.testing import score
from benchmarks.table1.training import train
from demo_steps import step
from ltvs.dataset.layout import PreparedSet
from ltvs.model.systems.registry import NETWORKS, Network
from ltvs.runtime.errors import InputError

#: Exit status of a study that its time limit ended and that can go on.
UNFINISHED = 75


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.table1", description=__doc__)
    option = parser.add_argument
    option(
        "--counts",
        action="store_true",
        help="compare parameter counts with the paper's; exit with 1 if a settled one differs",
    )
    option("--size", choices=tuple(BUDGETS), default="cpu", help="how much to train (default: cpu)")
    option("--output", type=Path, help="folder for the patients, networks and scores")
    option("--networks", nargs="+", choices=NETWORKS, default=NETWORKS, metavar="NAME",
           help=f"systems to run ({', '.join(NETWORKS)}; default: all)")  # fmt: skip
    option("--cohort", nargs=2, action="append", default=[], metavar=("SOURCE", "PATH"),
           help=f"real labeled CTs to test on as well ({', '.join(COHORTS)}); repeatable")  # fmt: skip
    option("--minutes", type=float, default=math.inf, help="stop after this time; the same command continues")
    option("--json", type=Path, help="file to write the results to")
    arguments = parser.parse_args()
    if arguments.counts:
        found = counts.counted()
        return finish(counts.report(found), counts.table(found), counts.wrong(found), arguments.json)
    if arguments.output is None:
        parser.error("expected --counts, or --output DIR for the study; got neither")
    for source, _ in arguments.cohort:
        if "liver" not in LABELED.get(source, ()) or source == "prepared":
            real = ", ".join(name for name in COHORTS if "liver" in LABELED[name] and name != "prepared")
            parser.error(f"--cohort: expected a cohort of real CTs with labeled livers ({real}); got {source}")
    if arguments.size == "gpu" and not torch.cuda.is_available():
        parser.error("--size gpu: expected a GPU, it would take months without; got none; give --size cpu")
    # So that a training that is at work saves, and does not go on alone.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        report, done = _study(arguments)
    except InputError as error:
        parser.exit(2, f"error: {error}\n")
    status = finish(report, tables.text(report), [], arguments.json)
    return status if done else UNFINISHED


def _study(arguments: argparse.Namespace) -> tuple[dict[str, Any], bool]:
    """Do what is left of the study, until the time is up; return the results, and whether all is done."""
    deadline = time.monotonic() + 60 * arguments.minutes
    budget, output, networks = BUDGETS[arguments.size], arguments.output, tuple(arguments.networks)
    data = prepare(budget, output)
    cases = held_out(data, arguments.cohort, output)
    first = list(first_runs(budget, networks))
    done = _make(first, arguments.size, data, cases, output, deadline)
    report = collected(arguments.size, first, cases, output)
    if done:
        best: dict[Network, float] = {network: best_rate(report, network) or COMMON_RATE for network in networks}
        others = list(best_runs(budget, best))
        done = _make(others, arguments.size, data, cases, output, deadline)
        report = collected(arguments.size, [*first, *others], cases, output)
    return report, done


def _make(
    runs: Iterable[Run], size: str, data: PreparedSet, cases: list[HeldOut], output: Path, deadline: float
) -> bool:
    """Train and score runs; return whether all are done, and not ended by the deadline."""
    for run in runs:
        if (left := deadline - time.monotonic()) <= 0:
            return False
        step(run.name)
        if not train(run, BUDGETS[size], data.folder, output, left):
            return False
        if not score(output / run.name, cases, deadline):
            return False
        measured(run, size, cases[0], output)
    return True


if __name__ == "__main__":
    sys.exit(main())
