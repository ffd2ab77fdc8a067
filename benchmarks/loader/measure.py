"""Patches per second of each loader, in turns, and the memory that it and its workers hold."""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from benchmarks import ROOT
from benchmarks.loader.loaders import STAGE, Triple, copied
from benchmarks.speed.nets import training_step
from benchmarks.time_and_memory import interleaved
from crossattn3d import UCANet
from ltvs.dataset.layout import PreparedSet
from ltvs.model.stages import CLASSES
from ltvs.runtime.files import read_json


def rates(
    streams: Mapping[str, Callable[[], Iterator[Any]]], rounds: int, warm: int, batches: int
) -> dict[str, dict[str, float]]:
    """Return patches per second: the median, the lowest and the highest of all rounds.

    Every round starts each loader anew, draws `warm` batches that are not counted, so that the workers have started
    and no batch is left that they made in advance, and times the next `batches`.
    """
    found: dict[str, list[float]] = {name: [] for name in streams}
    for _ in range(rounds):
        for name, start in streams.items():
            with closing(start()) as stream:
                for _ in islice(stream, warm):
                    pass
                before = time.perf_counter()
                drawn = sum(len(batch) for batch in islice(stream, batches))
                found[name].append(drawn / (time.perf_counter() - before))
    return {
        name: {"median": statistics.median(x), "low": min(x), "high": max(x), "rounds": len(x)}
        for name, x in found.items()
    }


def memory(name: str, data: PreparedSet, numbers: tuple[int, ...], patch: Triple, workers: int, batches: int) -> Any:
    """Return the most bytes that a loader and its workers hold, by number of cases; each in its own process."""
    found = {}
    for number in numbers:
        with tempfile.TemporaryDirectory() as folder:
            copied(data, number, Path(folder))
            arguments = json.dumps([name, folder, patch, workers, batches])
            command = [sys.executable, "-m", "benchmarks.loader.process_memory", arguments]
            child = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
            if child.returncode:
                raise RuntimeError(f"{name} with {number} cases failed: {child.stderr.strip()}")
            found[str(number)] = json.loads(child.stdout)
    return found


def step_seconds(patch: Triple, rounds: int) -> dict[str, Any]:
    """Return the seconds that a training step of the second stage's network takes for a patch on this processor."""
    torch.manual_seed(0)
    net = UCANet(1, len(CLASSES[STAGE]))
    image = torch.randn(1, 1, *patch).contiguous(memory_format=torch.channels_last_3d)
    step = training_step(net, net, image, torch.randint(len(CLASSES[STAGE]), (1, *patch)))
    timing = interleaved({"step": step}, torch.device("cpu"), rounds)["step"]
    return {"patch": list(patch), "seconds": timing.median, "rounds": rounds}


def gpu_steps(results: Path, patch: Triple) -> list[dict[str, Any]]:
    """Return the fastest training step of UCA-Net for a patch of this size on each GPU that has a speed report."""
    found = []
    for report in map(read_json, sorted(results.glob("*.json"))):
        if report.get("machine", {}).get("device") != "cuda":
            continue
        rows = [
            {name: net[name] for name in ("dtype", "compiled")} | {"seconds": row["training_step"]["median"]}
            for net in report.get("nets", [])
            if list(net["size"]) == list(patch)
            for row in net["rows"]
            if row["name"].startswith("UCANet") and "training_step" in row
        ]
        if rows:
            found.append({"name": report["machine"]["name"]} | min(rows, key=lambda row: row["seconds"]))
    return found
