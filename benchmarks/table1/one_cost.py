"""Measure the cost of a training step (`step SIZE NETWORK`) or of a CT (`ct RUN CT LIVER`), and print it as JSON."""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.reports import existing_path
from benchmarks.table1.budgets import BUDGETS, COMMON_RATE, Budget, Run
from benchmarks.table1.testing import pipeline_of
from benchmarks.table1.training import settings_of
from ltvs.model.computing import best_device
from ltvs.model.networks import make_network
from ltvs.model.stages import CLASSES
from ltvs.model.systems.registry import NETWORKS, Network
from ltvs.training.devices import start_processes
from ltvs.training.step import Learner, Sample
from ltvs.volume.images import read_ct, read_labels

Costs = dict[str, float]
#: Steps that are timed, and those before that are not.
STEPS, WARM = 5, 2


def of_step(network: Network, budget: Budget) -> Costs:
    """Return parameters, FLOPs of a patch forward, and the median seconds of a training step."""
    device = torch.device(best_device())
    settings = settings_of(Run(network, 0, COMMON_RATE), budget)
    fabric = start_processes(str(device), 1, 1, "32")
    learner = Learner(fabric, make_network(settings.network_of(2)), settings, WARM + STEPS)
    image = torch.randn(budget.batch, 1, *budget.patch)
    target = torch.randint(len(CLASSES[2]), image.shape, dtype=torch.uint8)
    seconds = []
    for _ in range(WARM + STEPS):
        start = time.perf_counter()
        learner.backward([Sample(image, target, "")])
        learner.update()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - start)
    held = _held_by_tensors("step", device)
    # The counter knows no attention of PyTorch's on CPUs but the one that is made of products.
    with FlopCounterMode(display=False) as counter, torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        learner.net.eval()(image[:1].to(device))
    parameters = sum(p.numel() for p in learner.net.parameters())
    flops = counter.get_total_flops()
    return {"parameters": parameters, "flops": flops, "step_seconds": statistics.median(seconds[WARM:]), **held}


def of_ct(run: Path, ct: Path, liver: Path) -> Costs:
    """Return the seconds that the stage 2 of a run takes with a CT whose liver is known, the second time."""
    pipeline, image, mask = pipeline_of(run), read_ct(ct), read_labels(liver)
    pipeline.label(image, mask, force=True)
    start = time.perf_counter()
    pipeline.label(image, mask, force=True)
    return {"ct_seconds": time.perf_counter() - start, **_held_by_tensors("ct", torch.device(pipeline.device))}


def _held_by_tensors(kind: str, device: torch.device) -> Costs:
    """Return the most bytes of tensors on a GPU; nothing on a CPU, where the process that started this one knows."""
    return {f"{kind}_bytes": torch.cuda.max_memory_allocated(device)} if device.type == "cuda" else {}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.table1.one_cost", description=__doc__)
    kinds = parser.add_subparsers(dest="kind", required=True)
    step = kinds.add_parser("step", help="a training step of a system")
    step.add_argument("size", choices=tuple(BUDGETS))
    step.add_argument("network", choices=NETWORKS)
    ct = kinds.add_parser("ct", help="a CT whose liver is known, labeled by the stage 2 of a run")
    for name in ("run", "ct", "liver"):
        ct.add_argument(name, type=existing_path)
    arguments = parser.parse_args()
    if arguments.kind == "step":
        found = of_step(arguments.network, BUDGETS[arguments.size])
    else:
        found = of_ct(arguments.run, arguments.ct, arguments.liver)
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
