"""Prepare labels and restore them: how much of them is lost, and the time and memory of preparation."""

import argparse
import sys
import time
from pathlib import Path

import torch

from benchmarks.machine import PACKAGES, machine
from benchmarks.reports import at_least_one, existing_path, finish
from benchmarks.roundtrip.measure import dice_and_time, peak_memory
from benchmarks.roundtrip.tables import missed, text
from ltvs.runtime.errors import InputError


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.roundtrip", description=__doc__)
    parser.add_argument("--input", type=existing_path, required=True, help="a patient of 3D-IRCADb-01, zip or folder")
    parser.add_argument("--json", type=Path, help="file to write the results to")
    parser.add_argument("--rounds", type=at_least_one, default=7, help="rounds in which both are timed (default: 7)")
    arguments = parser.parse_args()
    start = time.monotonic()
    try:
        peak = peak_memory(arguments.input)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    report = dice_and_time(arguments.input, arguments.rounds) | {"peak_bytes": peak}
    report["machine"] = machine(torch.device("cpu"), (*PACKAGES, "SimpleITK"))
    report["run_seconds"] = time.monotonic() - start
    return finish(report, text(report), missed(report), arguments.json)


if __name__ == "__main__":
    sys.exit(main())
