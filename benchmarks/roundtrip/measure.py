"""Dice of labels that were prepared and restored, time beside the bare calls, and peak memory of the command."""

import contextlib
import io
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch

from benchmarks.roundtrip import ROOT
from benchmarks.roundtrip.bare import prepare_barely
from benchmarks.speed.measure import interleaved
from ltvs.dataset.layout import PreparedSet
from ltvs.model.stages import STAGES
from ltvs.sources.archives import unpacked
from ltvs.sources.ircadb import CT
from ltvs.volume.grids import Grid
from ltvs.volume.images import read_labels
from ltvs.volume.labels import LIVER, TUMOR, VESSEL
from ltvs.volume.resampling import restore_probabilities
from prepare_ltvs import PrepareSettings
from prepare_ltvs import main as prepare


def peak_memory(path: Path) -> int:
    """Bytes that `prepare_ltvs.py` holds at most, as a process of its own with all that it loads.

    To be called while this process is small: Linux counts a child from the size of its parent.
    """
    with tempfile.TemporaryDirectory() as output:
        script = str(ROOT / "examples" / "prepare_ltvs.py")
        arguments = ["--source", "ircadb", "--input", str(path), "--output", output, "--workers", "1"]
        child = subprocess.Popen(
            [sys.executable, script, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        said = child.stderr.read() if child.stderr else ""
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise RuntimeError(f"prepare_ltvs.py --input {path} failed: {said.strip()}")
    return usage.ru_maxrss * 1024


def dice_and_time(path: Path, rounds: int) -> dict[str, Any]:
    """Dice of each structure by stage, and the time of preparation and of the bare calls, made in turns.

    Args:
        path: one patient of 3D-IRCADb, as `prepare_ltvs.py` takes it.
        rounds: how often each is timed.
    """
    with contextlib.ExitStack() as stack:
        folders = stack.enter_context(unpacked(path, "", lambda _: True))
        (patient,) = (found.parent for folder in folders for found in folder.rglob(CT) if found.is_dir())
        kept = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        _prepare(path, kept)
        data = PreparedSet(kept)
        (name,) = data.cases
        truth = read_labels(data.labels(name))
        grids = [data.case(stage, name).grid for stage in STAGES]

        def ours() -> None:
            with tempfile.TemporaryDirectory() as output:
                _prepare(path, Path(output))

        def bare() -> None:
            with tempfile.TemporaryDirectory() as output:
                prepare_barely(patient, grids, data.preparation.window[0], Path(output))

        processor: dict[str, list[float]] = {"bare": [], "prepare": []}
        calls = {"bare": _counted(bare, processor["bare"]), "prepare": _counted(ours, processor["prepare"])}
        timed = interleaved(calls, torch.device("cpu"), rounds)
        dice = {str(stage): _dice(data, stage, name, truth) for stage in STAGES}
    return {
        "case": name,
        "dice": dice,
        "seconds": {name: timing.json() for name, timing in timed.items()},
        "ratio": timed["prepare"].median / timed["bare"].median,
        # The first of each was not to be counted.
        "processor_seconds": {name: statistics.median(seconds[1:]) for name, seconds in processor.items()},
    }


def _counted(call: Callable[[], None], seconds: list[float]) -> Callable[[], None]:
    """The call, which also notes how long processors worked for it: a busy machine makes it wait, not work."""

    def made() -> None:
        before = time.process_time()
        call()
        seconds.append(time.process_time() - before)

    return made


def _prepare(path: Path, output: Path) -> None:
    """As the command does it, without what it prints."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        prepare(PrepareSettings(source="ircadb", input=path, output=output, workers=1))


def _dice(data: PreparedSet, stage: Any, name: str, truth: sitk.Image) -> dict[str, float]:
    case = data.case(stage, name)
    shares = np.stack([case.labels == label for label in range(4)]).astype(np.float32)
    back = sitk.GetArrayFromImage(restore_probabilities(shares, case.grid, Grid.of(truth)))
    true = sitk.GetArrayViewFromImage(truth)
    pairs = {
        "liver": (back >= LIVER, true >= LIVER),
        "tumor": (back == TUMOR, true == TUMOR),
        "vessel": (back == VESSEL, true == VESSEL),
    }
    return {name: 2 * float((a & b).sum()) / float(a.sum() + b.sum()) for name, (a, b) in pairs.items()}
