"""python -m benchmarks.speed --device cpu|cuda [--json OUT]: skips, checked before timed, half precision, networks."""

import argparse
import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from benchmarks.speed import nets, precision, skips
from benchmarks.speed.machine import bandwidth, machine
from benchmarks.speed.tables import precision_table, text_table


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed", description=__doc__)
    parser.add_argument("--device", choices=("cpu", "cuda"), required=True, help="where to measure")
    parser.add_argument("--json", type=Path, help="where to write the results")
    parser.add_argument("--rounds", type=int, default=9, help="calls of each kind, at most (default: 9)")
    parser.add_argument("--limit", type=float, default=15, help="seconds of each call, about (default: 15)")
    parser.add_argument("--first", type=int, help="only so many sizes, dtypes and formats of each part")
    parser.add_argument("--only", choices=("skips", "precision", "nets"), help="one part of it")
    arguments = parser.parse_args()
    if arguments.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: PyTorch finds no CUDA device here")
    device, start = torch.device(arguments.device), time.monotonic()
    # A row that says "compiled" must not have been run without.
    torch._dynamo.config.fail_on_recompile_limit_hit = True
    rate = bandwidth(device)
    report: dict[str, Any] = {"machine": machine(device), "bandwidth": rate, "skips": [], "precision": [], "nets": []}
    print(f"{report['machine']['name']}, {rate / 1e9:.1f} GB/s", flush=True)
    limits = arguments.rounds, arguments.limit
    if arguments.only in (None, "skips"):
        for skip in skips.cases(device)[: arguments.first]:
            torch.compiler.reset()
            checked = skips.check(skip, device)
            rows = skips.measure(skip, device, rate, *limits)
            report["skips"].append(asdict(skip) | {"error_over_allowed": checked, "rows": rows})
            print(text_table(report["skips"][-1]), flush=True)
            _save(report, start, arguments.json)
    if arguments.only in (None, "precision"):
        for case in precision.cases()[: arguments.first]:
            report["precision"].append(asdict(case) | {"rows": precision.measure(case, device)})
            print(precision_table(report["precision"][-1]), flush=True)
            _save(report, start, arguments.json)
    if arguments.only in (None, "nets"):
        for net in nets.cases(device)[: arguments.first]:
            torch.compiler.reset()
            report["nets"].append(asdict(net) | {"rows": nets.measure(net, device, *limits)})
            print(text_table(report["nets"][-1]), flush=True)
            _save(report, start, arguments.json)
    print(f"{time.monotonic() - start:.0f} s")
    return 0


def _save(report: dict[str, Any], start: float, path: Path | None) -> None:
    """After every case, so that a run that is cut off leaves what it has."""
    report["seconds"] = time.monotonic() - start
    if path is not None:
        path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
