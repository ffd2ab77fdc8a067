"""Measure the speed of skips and networks, and the accuracy of half precision. Skips are checked before they are timed.

With --check, the command only measures ratios that have a bound, in some minutes.
"""

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from benchmarks.machine import machine
from benchmarks.reports import at_least_one
from benchmarks.speed import bounds, nets, precision, skips
from benchmarks.speed.tables import precision_table, text_table
from benchmarks.time_and_memory import bandwidth
from ltvs.runtime.files import write_json

#: The cases of a part, what measures one of them, and what shows the result.
Part = tuple[list[Any], Callable[[Any], dict[str, Any]], Callable[[dict[str, Any]], str]]


def parts(device: torch.device, rate: float, rounds: int, limit: float) -> dict[str, Part]:
    """Return the parts of the benchmark by name; `rate` is the device's bandwidth, the others as for `interleaved`."""
    return {
        "skips": (
            skips.cases(device),
            lambda case: skips.checked_and_measured(case, device, rate, rounds, limit),
            text_table,
        ),
        "nets": (nets.cases(device), lambda case: {"rows": nets.measure(case, device, rounds, limit)}, text_table),
        "precision": (precision.cases(), lambda case: {"rows": precision.measure(case, device)}, precision_table),
    }


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed", description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=("cpu", "cuda"), required=True, help="device to measure on")
    parser.add_argument("--json", type=Path, help="file to write the results to")
    parser.add_argument("--rounds", type=at_least_one, default=9, help="most calls of each kind (default: 9)")
    parser.add_argument("--limit", type=float, default=15,
                        help="rough limit on the total seconds of each kind (default: 15)")  # fmt: skip
    parser.add_argument("--first", type=at_least_one, help="measure only the first cases of each part, this many")
    parser.add_argument("--only", choices=("skips", "precision", "nets"), help="measure one part only")
    parser.add_argument("--check", action="store_true", help="measure the bounds only; exit with 1 if one is missed")
    arguments = parser.parse_args()
    if arguments.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: PyTorch finds no CUDA device here")
    device, start = torch.device(arguments.device), time.monotonic()
    if arguments.check:
        if any(
            getattr(arguments, name) != parser.get_default(name)
            for name in ("json", "rounds", "limit", "first", "only")
        ):
            parser.error("--check takes --device alone")
        return bounds.check(device)
    # A row that says "compiled" must not have been run without.
    torch._dynamo.config.fail_on_recompile_limit_hit = True
    rate = bandwidth(device)
    of_parts = parts(device, rate, arguments.rounds, arguments.limit)
    report: dict[str, Any] = {"machine": machine(device), "bandwidth": rate} | {name: [] for name in of_parts}
    print(f"{report['machine']['name']}, {rate / 1e9:.1f} GB/s", flush=True)
    for name, (cases, measure, show) in of_parts.items():
        for case in cases[: arguments.first] if arguments.only in (None, name) else ():
            torch.compiler.reset()
            report[name].append(asdict(case) | measure(case))
            report["seconds"] = time.monotonic() - start
            print(show(report[name][-1]), flush=True)
            if arguments.json is not None:
                # After every case, so that a run that is cut off leaves its results.
                write_json(arguments.json, report)
    print(f"{time.monotonic() - start:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
