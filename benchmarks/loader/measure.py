"""Patches per second of each loader, in turns, and what it and its workers hold in memory."""

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

from benchmarks.loader import ROOT
from benchmarks.loader.streams import STAGE, Triple, copied
from crossattn3d import UCANet
from ltvs.dataset.layout import PreparedSet
from ltvs.model.stages import CLASSES


def rates(
    streams: Mapping[str, Callable[[], Iterator[Any]]], rounds: int, warm: int, batches: int
) -> dict[str, dict[str, float]]:
    """Patches per second, the median, the lowest and the highest of all rounds.

    Every round starts each loader anew, draws `warm` batches that are not counted, by which the workers have started
    and nothing is left that they made while nobody drew, and times the next `batches`.
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
    """Bytes that a loader and its workers hold at most, by number of cases; each in a process of its own."""
    found = {}
    for number in numbers:
        with tempfile.TemporaryDirectory() as folder:
            copied(data, number, Path(folder))
            command = [sys.executable, "-m", "benchmarks.loader.held", name, folder, str(workers), str(batches)]
            command += [str(n) for n in patch]
            child = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
            if child.returncode:
                raise RuntimeError(f"{name} with {number} cases failed: {child.stderr.strip()}")
            found[str(number)] = json.loads(child.stdout)
    return found


def step_seconds(patch: Triple, rounds: int) -> dict[str, Any]:
    """Seconds that a training step of the second stage's network takes for a patch on this processor."""
    torch.manual_seed(0)
    net = UCANet(1, len(CLASSES[STAGE]))
    optimizer = torch.optim.Adam(net.parameters(), 1e-3)
    image = torch.randn(1, 1, *patch).contiguous(memory_format=torch.channels_last_3d)
    target = torch.randint(len(CLASSES[STAGE]), (1, *patch))
    seconds = []
    for _ in range(rounds + 1):
        before = time.perf_counter()
        torch.nn.functional.cross_entropy(net(image), target).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        seconds.append(time.perf_counter() - before)
    return {"patch": list(patch), "seconds": statistics.median(seconds[1:]), "rounds": rounds}


def gpu_steps(results: Path, patch: Triple) -> list[dict[str, Any]]:
    """The fastest training step of UCA-Net for a patch of this size on each GPU that `benchmarks.speed` was run on."""
    found = []
    for path in sorted(results.glob("*.json")):
        report = json.loads(path.read_text(encoding="utf-8"))
        if report.get("machine", {}).get("device") != "cuda":
            continue
        rows = [
            {
                "name": report["machine"]["name"],
                "dtype": net["dtype"],
                "compiled": net["compiled"],
                "seconds": row["training_step"]["median"],
            }
            for net in report.get("nets", [])
            if list(net["size"]) == list(patch)
            for row in net["rows"]
            if row["name"].startswith("UCANet") and "training_step" in row
        ]
        found += [min(rows, key=lambda row: row["seconds"])] if rows else []
    return found
