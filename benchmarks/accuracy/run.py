"""python -m benchmarks.accuracy.run: one variant, one seed, trained and tested; goes on where it was stopped."""

import argparse
import json
import math
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.losses import DiceCELoss
from torch import nn

from benchmarks.accuracy.cases import batch, names_for_testing, names_for_training, prepare, read_case
from benchmarks.accuracy.probes import probed
from benchmarks.accuracy.scoring import Skeletons, predicted, scored
from benchmarks.accuracy.task import TASKS, Task
from benchmarks.accuracy.variants import make
from benchmarks.speed.machine import machine
from crossattn3d.unet import UNet3d
from ltvs.model.stages import CLASSES

#: What a run exits with that was stopped by its limit and can go on.
UNFINISHED = 75
#: Seconds between two checkpoints.
EVERY = 60.0
#: Losses are noted as means over so many steps.
NOTED = 20
#: Sizes of the patches that cases are predicted with, as shares of the training patch's voxels; every other case with
#: those that are not the training patch's.
SHARES = (1.0, 0.25, 4.0)
#: Beyond these, where scores and attention are looked at; and in how many cases, fewer of the large ones.
PAPER_PATCH, PROBED = (32, 320, 320), 4


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accuracy.run", description=__doc__)
    parser.add_argument("--cases", type=Path, required=True)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--variant", required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--data", choices=("all", "plain"), default="all")
    parser.add_argument("--task", choices=tuple(TASKS), default="cpu")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seconds", type=float, default=math.inf)
    parser.add_argument("--sizes", type=float, nargs="+", default=SHARES)
    a = parser.parse_args()
    task, device = TASKS[a.task], torch.device(a.device)
    try:
        return run(a.cases, a.runs, a.variant, a.seed, a.data, task, device, a.seconds, tuple(a.sizes))
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def file_of(runs: Path, variant: str, seed: int, data: str) -> Path:
    """Where the result of a run lies once it is finished."""
    return runs / (f"{variant}-{seed}.json" if data == "all" else f"{variant}-{seed}-{data}.json")


def net_of(result: Path) -> Path:
    """Where the weights of a finished run lie."""
    return result.with_suffix(".net.pt")


def run(
    folder: Path,
    runs: Path,
    variant: str,
    seed: int,
    data: str,
    task: Task,
    device: torch.device,
    seconds: float = math.inf,
    sizes: tuple[float, ...] = SHARES,
) -> int:
    """Train, test and write the result; `UNFINISHED` when the time is over, with a checkpoint to go on from."""
    deadline = time.monotonic() + seconds
    result = file_of(runs, variant, seed, data)
    net = make(variant, task, seed).to(device, memory_format=torch.channels_last_3d)
    state = trained(net, folder, result.with_suffix(".pt"), seed, data, task, device, deadline)
    if state["step"] < task.steps and state["finite"]:
        return UNFINISHED
    peak = _peak(device)
    net.eval()
    cases = [prepare(name, read_case(folder / f"{name}.npz"), task) for name in names_for_testing(folder)]
    scores: dict[str, Any] = {}
    skeletons = Skeletons()
    for share in sizes if state["finite"] else ():
        patch, whole = task.patch_of(share), share == 1
        scores[f"{share:g}"] = {
            case.name: scored(predicted(net, case, patch, device), case, skeletons if whole else None)
            for case in (cases if whole else cases[::2])
        }
    report = {
        "variant": variant,
        "data": data,
        "seed": seed,
        "task": task.as_dict(),
        "parameters": sum(p.numel() for p in net.parameters() if p.requires_grad),
        "seconds_per_step": float(np.median(state["seconds"])),
        "peak_memory_mib": peak,
        "losses": state["losses"],
        "finite": state["finite"],
        "scores": scores,
        "probes": _probes(net, cases, task, device) if state["finite"] and set(SHARES) <= set(sizes) else {},
        "machine": machine(device),
    }
    # Kept for benchmarks.accuracy.causes, which asks why a net scores as it does.
    _save(net.state_dict(), net_of(result))
    unfinished = result.with_suffix(".part")
    unfinished.write_text(json.dumps(report) + "\n", encoding="utf-8")
    unfinished.replace(result)
    result.with_suffix(".pt").unlink(missing_ok=True)
    return 0


def trained(
    net: UNet3d, folder: Path, checkpoint: Path, seed: int, data: str, task: Task, device: torch.device, deadline: float
) -> dict[str, Any]:
    """Train until the last step, the deadline, or a loss that is not finite; what there is to say about it."""
    optimizer = torch.optim.Adam(net.parameters(), lr=task.learning_rate)
    loss_of = loss(task).to(device)
    state: dict[str, Any] = {"step": 0, "losses": [], "recent": [], "seconds": [], "finite": True}
    if checkpoint.exists():
        kept = torch.load(checkpoint, map_location=device, weights_only=True)
        net.load_state_dict(kept["net"])
        optimizer.load_state_dict(kept["optimizer"])
        state = kept["state"]
    cases = [prepare(name, read_case(folder / f"{name}.npz"), task) for name in names_for_training(folder, data)]
    net.train()
    saved = time.monotonic()
    while state["step"] < task.steps and state["finite"]:
        now = time.monotonic()
        if now > deadline or now - saved > EVERY:
            _save({"net": net.state_dict(), "optimizer": optimizer.state_dict(), "state": state}, checkpoint)
            saved = now
            if now > deadline:
                break
        for group in optimizer.param_groups:
            group["lr"] = task.learning_rate * (1 + math.cos(math.pi * state["step"] / task.steps)) / 2
        image, target = batch(cases, task, seed, state["step"])
        start = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        logits = net(image.to(device).contiguous(memory_format=torch.channels_last_3d))
        error = loss_of(logits, target.to(device))
        error.backward()
        optimizer.step()
        value = float(error.detach())
        state["seconds"].append(time.perf_counter() - start)
        state["step"] += 1
        state["recent"].append(value)
        state["finite"] = math.isfinite(value)
        if len(state["recent"]) == NOTED:
            state["losses"].append([state["step"], round(sum(state["recent"]) / NOTED, 4)])
            state["recent"] = []
    return state


def loss(task: Task) -> nn.Module:
    """Dice of vessels and tumors plus cross-entropy."""
    weight = torch.ones(len(CLASSES[2]))
    weight[0] = task.background_weight
    return DiceCELoss(include_background=False, to_onehot_y=True, softmax=True, batch=True, weight=weight)


def _probes(net: UNet3d, cases: list[Any], task: Task, device: torch.device) -> dict[str, Any]:
    sizes = {task.patch_of(share): PROBED for share in sorted(SHARES)} | {PAPER_PATCH: 1}
    found = {"x".join(map(str, patch)): probed(net, cases[:count], patch, device) for patch, count in sizes.items()}
    return found if any(found.values()) else {}


def _save(content: dict[str, Any], path: Path) -> None:
    unfinished = path.with_suffix(".pt.part")
    torch.save(content, unfinished)
    unfinished.replace(path)


def _peak(device: torch.device) -> float:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


if __name__ == "__main__":
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", torch.get_num_threads())))
    sys.exit(main())
