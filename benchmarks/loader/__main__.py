"""python -m benchmarks.loader [--json OUT]: patches per second and memory of the loader, beside MONAI's and a step."""

import argparse
import contextlib
import io
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.loader import ROOT
from benchmarks.loader.measure import gpu_steps, memory, rates, step_seconds
from benchmarks.loader.streams import BATCH, copied, patches, streams
from benchmarks.loader.tables import CACHE, OURS, PERSISTENT, missed, text
from benchmarks.speed.machine import machine
from ltvs.dataset.layout import PreparedSet
from prepare_ltvs import PrepareSettings
from prepare_ltvs import main as prepare


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.loader", description=__doc__)
    parser.add_argument("--json", type=Path, help="where to write the results")
    parser.add_argument(
        "--input", type=Path, help="one patient of 3D-IRCADb-01 instead of a phantom, zipped or a folder"
    )
    parser.add_argument("--patch", type=int, nargs=3, default=(32, 320, 320), help="voxels (default: 32 320 320)")
    parser.add_argument("--step-patch", type=int, nargs=3, default=(32, 160, 160), metavar="N",
                        help="of the training step on this machine (default: 32 160 160)")  # fmt: skip
    parser.add_argument("--cases", type=int, nargs=2, default=(4, 16), metavar="N",
                        help="memory is measured with so many (default: 4 16)")  # fmt: skip
    parser.add_argument("--pixels", type=int, default=320, help="rows and columns of the prepared cases (default: 320)")
    parser.add_argument("--workers", type=int, default=2, help="processes of each loader (default: 2)")
    parser.add_argument("--rounds", type=int, default=3, help="how often each is timed (default: 3)")
    parser.add_argument("--batches", type=int, default=8, help="timed in each round (default: 8)")
    arguments = parser.parse_args()
    if arguments.input is not None and not arguments.input.exists():
        parser.error(f"--input {arguments.input}: does not exist")
    report = measure(arguments)
    print(text(report))
    if arguments.json is not None:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    for what in missed(report):
        print(f"missed: {what}", file=sys.stderr)
    return 1 if missed(report) else 0


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Everything, as JSON holds it."""
    load, start, patch = os.getloadavg()[0], time.monotonic(), tuple(arguments.patch)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        settings = PrepareSettings(
            source="ircadb" if arguments.input else "phantom",
            input=arguments.input,
            output=folder / "prepared",
            liver_pixels=arguments.pixels,
            pixels=arguments.pixels,
            count=1,
            ct_slice_spacing=1.5,
            workers=1,
        )
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            prepare(settings)
        data = PreparedSet(folder / "prepared")
        several = copied(data, arguments.cases[-1], folder / "several")
        (folder / "cache").mkdir()
        started = streams(several, folder / "cache", patch, arguments.workers)
        found = rates(started, arguments.rounds, 2 * arguments.workers + 2, arguments.batches)
        del started  # and with it what the CacheDataset holds
        # By then ours has come by every patch of every case, and MONAI's have drawn each about twice.
        whole, number = -(-len(patches(several, patch)) // BATCH), arguments.cases[-1]
        batches = {OURS: whole, PERSISTENT: number // 2 + 1, CACHE: number // 2 + 1}
        sizes = {
            name: memory(name, data, tuple(arguments.cases), patch, arguments.workers, count)
            for name, count in batches.items()
        }
        return {
            "case": data.cases[0],
            "patch": list(patch),
            "batch": BATCH,
            "workers": arguments.workers,
            "rates": found,
            "memory": sizes,
            "step": step_seconds(tuple(arguments.step_patch), arguments.rounds),
            "gpus": gpu_steps(ROOT / "benchmarks" / "results", patch),
            "load": load,
            "machine": machine(torch.device("cpu")),
            "run_seconds": time.monotonic() - start,
        }


if __name__ == "__main__":
    sys.exit(main())
