"""Measure the time and memory of labeling a CT, by this pipeline and by MONAI.

Both run on the paper's grids and widths with random weights, in float32 and bfloat16, in separate processes. The
command also measures predict_ltvs.py on CTs of 200 and of 1,000 slices, with the networks that come with the examples.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.machine import PACKAGES, machine
from benchmarks.prediction.measure import both_sides, long_cts
from benchmarks.prediction.tables import missed, text
from benchmarks.prediction.work import Size, unpacked_work
from benchmarks.reports import at_least_one, existing_path, finish
from ltvs.model.computing import fast_precision
from ltvs.runtime.errors import InputError


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.prediction", description=__doc__.splitlines()[0])
    parser.add_argument("--input", type=existing_path, required=True, help="a patient of 3D-IRCADb-01, zip or folder")
    parser.add_argument("--json", type=Path, help="file to write the results to")
    parser.add_argument("--rounds", type=at_least_one, default=1, help="number of processes of each kind (default: 1)")
    parser.add_argument("--only", choices=("monai", "long"), help="compare with MONAI only, or measure long CTs only")
    parser.add_argument("--check", action="store_true", help="exit with 1 if a bound is missed")
    arguments = parser.parse_args()
    try:
        report = measured(arguments.input, Size(), arguments.rounds, arguments.only)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    short = missed(report)
    status = finish(report, text(report), short, arguments.json)
    return status if arguments.check else 0


def measured(path: Path, size: Size, rounds: int, only: str | None = None) -> dict[str, Any]:
    """Return the report of all processes, or of a part."""
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, unpacked_work(path, Path(folder), size) as (name, work):
        runs = both_sides(work, rounds) if only != "long" else []
        long = long_cts(work) if only != "monai" else []
    return {
        "case": name,
        "automatic": fast_precision("cpu"),
        "runs": runs,
        "long": long,
        "machine": machine(torch.device("cpu"), (*PACKAGES, "SimpleITK")),
        "run_seconds": time.monotonic() - start,
    }


if __name__ == "__main__":
    sys.exit(main())
