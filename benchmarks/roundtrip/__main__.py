"""python -m benchmarks.roundtrip --input ZIP [--json OUT]: labels prepared and restored; time and memory of it."""

import argparse
import json
import sys
import time
from importlib.metadata import version
from pathlib import Path

import torch

from benchmarks.roundtrip.measure import dice_and_time, peak_memory
from benchmarks.roundtrip.tables import missed, text
from benchmarks.speed.machine import machine


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.roundtrip", description=__doc__)
    parser.add_argument("--input", type=Path, required=True, help="one patient of 3D-IRCADb-01, zipped or a folder")
    parser.add_argument("--json", type=Path, help="where to write the results")
    parser.add_argument("--rounds", type=int, default=7, help="how often each is timed (default: 7)")
    arguments = parser.parse_args()
    if not arguments.input.exists():
        parser.error(f"--input {arguments.input}: does not exist")
    start = time.monotonic()
    peak = peak_memory(arguments.input)
    report = dice_and_time(arguments.input, arguments.rounds) | {"peak_bytes": peak}
    about = machine(torch.device("cpu"))
    report["machine"] = about | {"versions": about["versions"] | {"SimpleITK": version("SimpleITK")}}
    report["run_seconds"] = time.monotonic() - start
    print(text(report))
    if arguments.json is not None:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    for what in missed(report):
        print(f"missed: {what}", file=sys.stderr)
    return 1 if missed(report) else 0


if __name__ == "__main__":
    sys.exit(main())
