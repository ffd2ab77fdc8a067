"""One variant trained with one seed and tested, as the whole work of a process; resumes from its checkpoint."""

import math
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.accuracy.attention_probes import probed
from benchmarks.accuracy.case_scores import predicted, scored
from benchmarks.accuracy.cases import Prepared, batch, names_for_testing, names_for_training, prepared
from benchmarks.accuracy.run_files import checkpoints_of, file_of, net_of
from benchmarks.accuracy.task import Task
from benchmarks.accuracy.variants import make
from benchmarks.machine import machine
from crossattn3d import UNet3d
from ltvs.runtime.files import atomic_path, write_json
from ltvs.training.checkpoints import load_checkpoint, save_checkpoint
from ltvs.training.devices import start_processes
from ltvs.training.step import Learner

try:
    import resource
except ImportError:  # on Windows
    resource = None  # type: ignore[assignment]

#: Exit status of a run that its time limit stopped and that can be resumed.
UNFINISHED = 75
#: Seconds between two checkpoints.
EVERY = 60.0
#: Steps whose mean loss is kept.
NOTED = 20
#: Sizes of the patches to predict with, as shares of the training patch's voxels; other sizes than the training patch's
#: are tried on every other case.
SHARES = (1.0, 0.25, 4.0)
#: Beyond these, the patch at which scores and attention are probed; and in how many cases, fewer of the large ones.
PAPER_PATCH, PROBED = (32, 320, 320), 4


def exit_with_run(*arguments: Any) -> None:
    """Do what `run` does with these arguments, and end the process with its status, or 2 and a line about bad input."""
    try:
        status = run(*arguments)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        status = 2
    sys.exit(status)


def run(
    folder: Path,
    runs: Path,
    variant: str,
    seed: int,
    data: str,
    task: Task,
    device: torch.device,
    seconds: float = math.inf,
    sizes: Sequence[float] = SHARES,
) -> int:
    """Train, test and write the result; return 0, or `UNFINISHED` once the time is up, leaving a checkpoint."""
    deadline = time.monotonic() + seconds
    result = file_of(runs, variant, seed, data)
    fabric = start_processes(str(device), 1, 1, "32")
    net = make(variant, task, seed).to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    learner = Learner(fabric, net, task.settings(), task.steps)
    training = prepared(folder, names_for_training(folder, data), task)
    progress = train(learner, training, checkpoints_of(result), seed, task, deadline)
    if progress["step"] < task.steps and progress["finite"]:
        return UNFINISHED
    peak = _peak(device)
    net.eval()
    cases = prepared(folder, names_for_testing(folder), task)
    scores: dict[str, Any] = {}
    for share in sizes if progress["finite"] else ():
        patch, whole = task.patch_of(share), share == 1
        scores[f"{share:g}"] = {
            case.name: scored(predicted(net, case, patch, device), case, skeletons=whole)
            for case in (cases if whole else cases[::2])
        }
    report = {
        "variant": variant,
        "data": data,
        "seed": seed,
        "task": task.as_dict(),
        "parameters": sum(p.numel() for p in net.parameters() if p.requires_grad),
        "seconds_per_step": float(np.median(progress["seconds"])),
        "peak_memory_mib": peak,
        "losses": progress["losses"],
        "finite": progress["finite"],
        "scores": scores,
        "probes": _probes(net, cases, task, device) if progress["finite"] and set(SHARES) <= set(sizes) else {},
        "machine": machine(device),
    }
    # Kept for benchmarks.accuracy.causes, which looks into the trained network.
    with atomic_path(net_of(result)) as path:
        torch.save(net.state_dict(), path)
    write_json(result, report)
    shutil.rmtree(checkpoints_of(result), ignore_errors=True)
    return 0


def train(
    learner: Learner, cases: list[Prepared], checkpoints: Path, seed: int, task: Task, deadline: float
) -> dict[str, Any]:
    """Train until the last step, the deadline, or a loss or weight that is not finite; return the progress."""
    progress: dict[str, Any] = {"step": 0, "losses": [], "recent": [], "seconds": [], "finite": True}
    if (state := load_checkpoint(checkpoints)) is not None:
        learner.load_state(state["learner"])
        progress = state["progress"]
    saved = time.monotonic()
    while progress["step"] < task.steps and progress["finite"]:
        now = time.monotonic()
        if now > deadline or now - saved > EVERY:
            save_checkpoint({"learner": learner.state(), "progress": progress}, checkpoints)
            saved = now
            if now > deadline:
                break
        image, target = batch(cases, task, seed, progress["step"])
        start = time.perf_counter()
        loss = float(learner.backward([(image, target, "")]))
        progress["finite"] = learner.update() and math.isfinite(loss)
        progress["seconds"].append(time.perf_counter() - start)
        progress["step"] += 1
        progress["recent"].append(loss)
        if len(progress["recent"]) == NOTED:
            progress["losses"].append([progress["step"], round(sum(progress["recent"]) / NOTED, 4)])
            progress["recent"] = []
    return progress


def _probes(net: UNet3d, cases: list[Prepared], task: Task, device: torch.device) -> dict[str, Any]:
    sizes = {task.patch_of(share): PROBED for share in sorted(SHARES)} | {PAPER_PATCH: 1}
    found = {"x".join(map(str, patch)): probed(net, cases[:count], patch, device) for patch, count in sizes.items()}
    return found if any(found.values()) else {}


def _peak(device: torch.device) -> float | None:
    """Return the most MiB that the process, or its tensors on a GPU, have taken; None where the system does not say."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    if resource is None:
        return None
    # In KiB, but on macOS in bytes.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
