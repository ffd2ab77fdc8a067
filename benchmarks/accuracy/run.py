"""One variant trained with one seed and tested, as the whole work of a process; resumes from its checkpoint."""

import math
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from benchmarks.accuracy.case_scores import Scores, calibrate, predicted, scored
from benchmarks.accuracy.cases import (
    Prepared,
    batch,
    evenly,
    names_for_testing,
    names_for_training,
    names_of_cts,
    prepared,
)
from benchmarks.accuracy.causes.attention_probes import probed
from benchmarks.accuracy.causes.frozen_attention import frozen, mean_maps
from benchmarks.accuracy.run_files import FROZEN, REAL_CT, checkpoints_of, file_of, net_of
from benchmarks.accuracy.task import Task, Triple
from benchmarks.accuracy.variants import make
from benchmarks.machine import machine
from crossattn3d import UNet3d
from ltvs.model.computing import check_precision
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
#: Batches after the last one of training over which attention maps and gates are averaged to freeze them.
AVERAGED = 16
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
    """Train, test and write the result; return 0, or `UNFINISHED` once the time is up, leaving a checkpoint.

    Raises:
        ValueError: a case is damaged, or the task's precision gives wrong gradients on this device.
    """
    check_precision(task.precision, device.type, task.patch[0], len(task.channels))
    deadline = time.monotonic() + seconds
    result = file_of(runs, variant, seed, data)
    fabric = start_processes(str(device), 1, 1, task.precision)
    net = make(variant, task, seed).to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    learner = Learner(fabric, net, task.settings(), task.steps)
    training = prepared(folder, names_for_training(folder, data), task)
    progress = train(learner, training, checkpoints_of(result), seed, task, deadline)
    if progress["step"] < task.steps and progress["finite"]:
        return UNFINISHED
    peak = _peak(device)
    net = cast("UNet3d", learner.result).eval()
    cases = prepared(folder, names_for_testing(folder), task)
    scores: dict[str, Any] = {}
    if progress["finite"]:
        averaged = [batch(training, task, seed, task.steps + i)[0] for i in range(AVERAGED)]
        cts = prepared(folder, names_of_cts(folder), task)
        for_odds = evenly(training, task.calibrated)
        scores = scores_by_size(net, cases, cts, for_odds, averaged, task, device, sizes)
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


def scores_by_size(
    net: UNet3d,
    cases: list[Prepared],
    cts: list[Prepared],
    for_odds: Sequence[Prepared],
    averaged: Sequence[Tensor],
    task: Task,
    device: torch.device,
    sizes: Sequence[float],
) -> dict[str, Any]:
    """Return a net's scores by size of the patches, of real CTs, and with its attention frozen, where there is any.

    Args:
        net: trained.
        cases: to test.
        cts: real ones, if any.
        for_odds: training cases with which the odds of its classes are chosen, if any.
        averaged: images over which maps and gates are averaged to freeze them.
        task: the setting.
        device: to compute on.
        sizes: of the patches, as shares of the training patch's voxels.
    """

    def scores_of(net: UNet3d, cases: list[Prepared], patch: Triple, *, skeletons: bool = False) -> dict[str, Scores]:
        return {case.name: scored(predicted(net, case, patch, device), case, skeletons=skeletons) for case in cases}

    if for_odds:
        calibrate(net, for_odds, task.patch, device)
    scores: dict[str, Any] = {}
    for share in sizes:
        patch, whole = task.patch_of(share), share == 1
        scores[f"{share:g}"] = scores_of(net, cases if whole else cases[::2], patch, skeletons=whole)
    if cts:
        scores[REAL_CT] = scores_of(net, cts, task.patch)
    if any(maps := mean_maps(net, [image.to(device) for image in averaged])):
        fixed = frozen(net, maps)
        if for_odds:
            # Its own odds, so that what it loses is not a matter of these.
            calibrate(fixed, for_odds, task.patch, device)
        scores[FROZEN] = scores_of(fixed, cases, task.patch)
    return scores


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
