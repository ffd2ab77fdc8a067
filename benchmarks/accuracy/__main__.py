"""Train and test variants of the network, seed by seed.

Each run is a process of its own. Runs follow each other, or run at the same time with --jobs, each on its own GPU if
there are any. To continue a study, give the same command again: it skips finished runs, and resumes the runs that
--minutes stopped from their checkpoints.
"""

import argparse
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from multiprocessing import get_context
from pathlib import Path
from threading import local

import torch

from benchmarks.accuracy.run import SHARES, UNFINISHED, exit_with_run
from benchmarks.accuracy.run_files import DATA, file_of
from benchmarks.accuracy.task import TASKS
from benchmarks.accuracy.variants import GROUPS, make


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accuracy", description=__doc__)
    parser.add_argument("--cases", type=Path, required=True, help="folder of cases from benchmarks.accuracy.data")
    parser.add_argument("--runs", type=Path, required=True, help="folder for the results, one file each")
    parser.add_argument("--group", choices=tuple(GROUPS), help="run all variants of a table")
    parser.add_argument("--variants", nargs="+", default=[], help="run these variants; variants.py lists the names")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="seeds to run (default: 0 1 2)")
    parser.add_argument("--data", choices=DATA, default="all",
                        help="train on all cases, or on the plain phantoms alone (default: all)")  # fmt: skip
    parser.add_argument("--sizes", type=float, nargs="+", choices=SHARES, default=SHARES, metavar="SHARE",
                        help="sizes of the patches to predict with, in multiples of the training patch's voxels "
                        "(default: 1 0.25 4); with all three, the attention is probed as well")  # fmt: skip
    parser.add_argument(
        "--task", choices=tuple(TASKS), default="cpu", help="training settings, see task.py (default: cpu)"
    )
    parser.add_argument("--jobs", type=int, default=max(1, torch.cuda.device_count()),
                        help="number of runs at the same time (default: one, or one per GPU)")  # fmt: skip
    parser.add_argument("--minutes", type=float, default=float("inf"),
                        help="stop after this time; to resume, give the same command again")  # fmt: skip
    arguments = parser.parse_args()
    variants = [*arguments.variants, *GROUPS.get(arguments.group, ())]
    if not variants:
        parser.error("expected --group or --variants; got neither")
    if not arguments.cases.is_dir():
        parser.error(f"--cases {arguments.cases}: no such folder; make it with benchmarks.accuracy.data.rendered")
    try:
        for variant in variants:
            make(variant, TASKS[arguments.task], 0)
    except ValueError as error:
        parser.error(str(error))
    arguments.runs.mkdir(parents=True, exist_ok=True)
    return study(arguments, variants)


def study(arguments: argparse.Namespace, variants: list[str]) -> int:
    """Make every missing run; return 0 if all are made, 75 if time ran out, 1 if one failed."""
    deadline = time.monotonic() + 60 * arguments.minutes
    places, thread = count(), local()
    # The threads of each run, which its process inherits.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // arguments.jobs)))

    def start_thread() -> None:
        thread.place = next(places)

    def one(job: tuple[str, int]) -> int:
        return _run(arguments, *job, thread.place, deadline)

    wanted = list(_order(arguments, variants))
    print(f"{len(wanted)} runs to make", flush=True)
    worst = 0
    with ThreadPoolExecutor(arguments.jobs, initializer=start_thread) as pool:
        for number, ((variant, seed), code) in enumerate(zip(wanted, pool.map(one, wanted), strict=True), start=1):
            outcome = {0: "done", UNFINISHED: "not finished"}.get(code, f"failed, exit {code}")
            print(f"{number}/{len(wanted)} {variant} {seed}: {outcome}", flush=True)
            worst = 1 if worst == 1 or code not in (0, UNFINISHED) else max(worst, code)
    return worst


def _order(arguments: argparse.Namespace, variants: list[str]) -> Iterator[tuple[str, int]]:
    """Yield all variants of one seed before the next, so that a study cut short compares like with like."""
    for seed in arguments.seeds:
        for variant in dict.fromkeys(variants):
            if not file_of(arguments.runs, variant, seed, arguments.data).exists():
                yield variant, seed


def _run(arguments: argparse.Namespace, variant: str, seed: int, place: int, deadline: float) -> int:
    left = deadline - time.monotonic()
    if left <= 0:
        return UNFINISHED
    device = torch.device("cuda", place % torch.cuda.device_count()) if torch.cuda.is_available() else "cpu"
    process = get_context("spawn").Process(
        target=exit_with_run,
        args=(arguments.cases, arguments.runs, variant, seed, arguments.data, TASKS[arguments.task],
              torch.device(device), left, tuple(arguments.sizes)),
    )  # fmt: skip
    process.start()
    process.join()
    return process.exitcode or 0


if __name__ == "__main__":
    sys.exit(main())
