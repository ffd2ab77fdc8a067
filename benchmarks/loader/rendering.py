"""Measure how many patches are rendered per second, and how many a training step uses.

On CPUs, each stage trains on one core while another process renders on a second core. A GPU does both in turns.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import torch

from benchmarks.loader.rendering_tables import missed, text
from benchmarks.machine import machine
from benchmarks.preparation import prepare_silently
from benchmarks.reports import at_least_one, finish
from benchmarks.speed.nets import training_step
from benchmarks.time_and_memory import interleaved
from ltvs.dataset.layout import PreparedSet
from ltvs.model.networks import NetworkSettings, make_network
from ltvs.model.stages import CLASSES, STAGES, Stage
from ltvs.training.patches import Rendered, RenderedDataset

Triple = tuple[int, int, int]

#: Grids, patches and networks of `make networks`.
GRIDS = {"pixels": 112, "slice_spacing": 3.5, "liver_pixels": 160, "liver_slice_spacing": 1.5}
PATCHES: dict[Stage, Triple] = {1: (32, 112, 112), 2: (32, 80, 80)}
CHANNELS = (8, 16, 32, 64)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.loader.rendering", description=__doc__)
    option = parser.add_argument
    option("--json", type=Path, help="file to write the results to")
    option("--rounds", type=at_least_one, default=15, help="rounds in which rendering and step are timed (default: 15)")
    arguments = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare_silently(
            source="phantom", output=folder, count=1, matrix=128, ct_slice_spacing=5.0, maps=1,
            **GRIDS,
        )  # fmt: skip
        rows = measure(PreparedSet(folder), device, arguments.rounds, PATCHES)
    report = {"rows": rows, "machine": machine(device)}
    return finish(report, text(report), missed(report), arguments.json)


def measure(data: PreparedSet, device: torch.device, rounds: int, patches: dict[Stage, Triple]) -> list[dict[str, Any]]:
    """Return, for each stage, the seconds in which a patch is rendered and in which a training step takes it in.

    Args:
        data: a prepared set with maps.
        device: where both are done; on a CPU with one thread.
        rounds: in which both are timed in turns.
        patches: (d, h, w) voxels, by stage.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        timings = {stage: interleaved(_calls(data, stage, patches[stage], device), device, rounds) for stage in STAGES}
    finally:
        torch.set_num_threads(threads)
    return [
        {"stage": stage, "patch": list(patches[stage])}
        | {name: timing._asdict() for name, timing in timings[stage].items()}
        for stage in STAGES
    ]


def _calls(data: PreparedSet, stage: Stage, patch: Triple, device: torch.device) -> dict[str, Callable[[], Any]]:
    """Return calls that render a patch, another each time, and that take a training step with one."""
    dataset, numbers = RenderedDataset(data, stage, Rendered(patch, 4, jitter=8.0), device), count()
    classes = len(CLASSES[stage])
    net = make_network(NetworkSettings(classes, "unet3d" if stage == 1 else "ucanet", CHANNELS, norm="instance"))
    net = net.to(device)
    sample = dataset[0, 0]
    image = sample.image[None].to(device, memory_format=torch.channels_last_3d)
    step = training_step(net, net, image, sample.target.to(device, torch.long))
    return {"render": lambda: dataset[0, next(numbers)], "step": step}


if __name__ == "__main__":
    sys.exit(main())
