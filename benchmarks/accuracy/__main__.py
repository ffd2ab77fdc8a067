"""python -m benchmarks.accuracy --cases DATA --runs RUNS: train and test variants, seed by seed; resumes.

Each run is a process of its own: one after another, side by side with --jobs, on a GPU each where there are any. A run
that is finished is not made again; one that --minutes stopped goes on from its checkpoint.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from queue import SimpleQueue

import torch

from benchmarks.accuracy import ROOT
from benchmarks.accuracy.run import SHARES, UNFINISHED, file_of
from benchmarks.accuracy.task import TASKS
from benchmarks.accuracy.variants import GROUPS, make


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accuracy", description=__doc__)
    parser.add_argument("--cases", type=Path, required=True, help="what benchmarks.accuracy.data wrote")
    parser.add_argument("--runs", type=Path, required=True, help="folder for the results, a file each")
    parser.add_argument("--group", choices=tuple(GROUPS), help="the variants of a table")
    parser.add_argument("--variants", nargs="+", default=[], help="variants by name, see variants.py")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="(default: 0 1 2)")
    parser.add_argument("--data", choices=("all", "plain"), default="all",
                        help="train on all cases, or on the plain phantoms alone (default: all)")  # fmt: skip
    parser.add_argument("--sizes", type=float, nargs="+", choices=SHARES, default=SHARES, metavar="SHARE",
                        help="patches to predict with, in voxels of the training's; all of them, the default "
                        "(1 0.25 4), to look at the attention as well")  # fmt: skip
    parser.add_argument("--task", choices=tuple(TASKS), default="cpu", help="the setting, see task.py (default: cpu)")
    parser.add_argument("--jobs", type=int, default=max(1, torch.cuda.device_count()),
                        help="runs side by side (default: one, or one per GPU)")  # fmt: skip
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop after so long; the next call goes on")
    arguments = parser.parse_args()
    variants = [*arguments.variants, *GROUPS.get(arguments.group, ())]
    if not variants:
        parser.error("expected --group or --variants; got neither")
    if not arguments.cases.is_dir():
        parser.error(f"--cases {arguments.cases}: no such folder; make it with python -m benchmarks.accuracy.data")
    try:
        for variant in variants:
            make(variant, TASKS[arguments.task], 0)
    except ValueError as error:
        parser.error(str(error))
    arguments.runs.mkdir(parents=True, exist_ok=True)
    return study(arguments, variants)


def study(arguments: argparse.Namespace, variants: list[str]) -> int:
    """Make every run that is not there yet; 0 if all are, 75 if time ran out, 1 if one failed."""
    deadline = time.monotonic() + 60 * arguments.minutes
    places: SimpleQueue[int] = SimpleQueue()
    for place in range(arguments.jobs):
        places.put(place)

    def one(variant: str, seed: int) -> int:
        place = places.get()
        try:
            return _run(arguments, variant, seed, place, deadline)
        finally:
            places.put(place)

    wanted = list(_order(arguments, variants))
    print(f"{len(wanted)} runs to make", flush=True)
    numbers = count(1)
    worst = 0
    with ThreadPoolExecutor(arguments.jobs) as pool:
        for (variant, seed), code in zip(wanted, pool.map(lambda job: one(*job), wanted), strict=True):
            said = {0: "done", UNFINISHED: "not finished"}.get(code, f"failed, exit {code}")
            print(f"{next(numbers)}/{len(wanted)} {variant} {seed}: {said}", flush=True)
            worst = 1 if worst == 1 or code not in (0, UNFINISHED) else max(worst, code)
    return worst


def _order(arguments: argparse.Namespace, variants: list[str]) -> Iterator[tuple[str, int]]:
    """All variants of one seed before the next, so that a study cut short compares like with like."""
    for seed in arguments.seeds:
        for variant in dict.fromkeys(variants):
            if not file_of(arguments.runs, variant, seed, arguments.data).exists():
                yield variant, seed


def _run(arguments: argparse.Namespace, variant: str, seed: int, place: int, deadline: float) -> int:
    left = deadline - time.monotonic()
    if left <= 0:
        return UNFINISHED
    environment = dict(os.environ)
    device = "cpu"
    if torch.cuda.is_available():
        device = "cuda"
        environment["CUDA_VISIBLE_DEVICES"] = str(place % torch.cuda.device_count())
    else:
        environment.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // arguments.jobs)))
    command = [
        sys.executable, "-m", "benchmarks.accuracy.run", "--cases", arguments.cases.resolve(),
        "--runs", arguments.runs.resolve(), "--variant", variant, "--seed", str(seed), "--data", arguments.data,
        "--task", arguments.task, "--device", device, "--seconds", str(left),
        "--sizes", *arguments.sizes,
    ]  # fmt: skip
    return subprocess.run([str(part) for part in command], cwd=ROOT, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
