"""Measure the speed and memory of the training's loader, next to MONAI's loaders and a training step."""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks import RESULTS
from benchmarks.loader.loaders import BATCH, copied, loaders, patches
from benchmarks.loader.measure import gpu_steps, memory, rates, step_seconds
from benchmarks.loader.tables import CACHE, OURS, PERSISTENT, missed, text
from benchmarks.machine import machine
from benchmarks.preparation import prepare_silently
from benchmarks.reports import at_least_one, existing_path, finish
from ltvs.dataset.layout import PreparedSet


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.loader", description=__doc__)
    option = parser.add_argument
    option("--json", type=Path, help="file to write the results to")
    option("--input", type=existing_path, help="a patient of 3D-IRCADb-01, zip or folder (default: a phantom)")
    option("--patch", type=int, nargs=3, default=(32, 320, 320), metavar="N",
           help="size of the patches, voxels (default: 32 320 320)")  # fmt: skip
    option("--step-patch", type=int, nargs=3, default=(32, 160, 160), metavar="N",
           help="size of the patch in the training step, voxels (default: 32 160 160)")  # fmt: skip
    option("--cases", type=int, nargs=2, default=(4, 16), metavar="N",
           help="two numbers of cases to measure the memory with (default: 4 16)")  # fmt: skip
    option("--pixels", type=at_least_one, default=320, help="rows and columns of the prepared cases (default: 320)")
    option("--workers", type=int, default=2, help="processes of each loader (default: 2)")
    option("--rounds", type=at_least_one, default=3, help="rounds in which each loader is timed (default: 3)")
    option("--batches", type=at_least_one, default=8, help="batches timed in each round (default: 8)")
    arguments = parser.parse_args()
    report = measure(arguments)
    return finish(report, text(report), missed(report), arguments.json)


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure everything; return it as JSON holds it."""
    load, start, patch = os.getloadavg()[0], time.monotonic(), tuple(arguments.patch)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare_silently(
            source="ircadb" if arguments.input else "phantom", input=arguments.input, output=folder / "prepared",
            liver_pixels=arguments.pixels, pixels=arguments.pixels, count=1, ct_slice_spacing=1.5,
        )  # fmt: skip
        data = PreparedSet(folder / "prepared")
        several = copied(data, arguments.cases[-1], folder / "several")
        (folder / "cache").mkdir()
        started = loaders(several, folder / "cache", patch, arguments.workers)
        found = rates(started, arguments.rounds, 2 * arguments.workers + 2, arguments.batches)
        del started  # and with it the contents of the CacheDataset
        # By then ours has drawn every patch of every case, and MONAI's have drawn each about twice.
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
            "gpus": gpu_steps(RESULTS, patch),
            "load": load,
            "machine": machine(torch.device("cpu")),
            "run_seconds": time.monotonic() - start,
        }


if __name__ == "__main__":
    sys.exit(main())
