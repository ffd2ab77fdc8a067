"""Dice of labels that were prepared and restored, time beside the bare calls, and peak memory of the command."""

import contextlib
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch

from benchmarks import ROOT
from benchmarks.child_process import peak_and_output
from benchmarks.preparation import prepare_silently
from benchmarks.roundtrip.simpleitk_calls import prepare_barely
from benchmarks.time_and_memory import interleaved
from ltvs.dataset.layout import PreparedSet
from ltvs.evaluation.metrics import dice
from ltvs.model.stages import STAGES, Stage
from ltvs.sources.archives import unpacked
from ltvs.sources.ircadb import CT
from ltvs.volume.grids import Grid
from ltvs.volume.images import read_labels
from ltvs.volume.labels import LIVER, TUMOR, VESSEL
from ltvs.volume.resampling import restore_probabilities


def peak_memory(path: Path) -> int:
    """Return the most bytes that `prepare_ltvs.py` holds, as its own process with everything it loads."""
    with tempfile.TemporaryDirectory() as output:
        script = ROOT / "examples" / "prepare_ltvs.py"
        arguments = ["--source", "ircadb", "--input", str(path), "--output", output, "--workers", "1"]
        return peak_and_output(f"{script.name} --input {path}", [str(script), *arguments])[0]


def dice_and_time(path: Path, rounds: int) -> dict[str, Any]:
    """Return Dice of each structure by stage, and the time of preparation and of the bare calls, made in turns.

    Args:
        path: one patient of 3D-IRCADb, as `prepare_ltvs.py` takes it.
        rounds: in which each is timed.
    """
    with contextlib.ExitStack() as stack:
        folders = stack.enter_context(unpacked(path, "", lambda _: True))
        (patient,) = (found.parent for folder in folders for found in folder.rglob(CT) if found.is_dir())
        kept = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        prepare_silently(source="ircadb", input=path, output=kept)
        data = PreparedSet(kept)
        (name,) = data.cases
        grids = [data.case(stage, name).grid for stage in STAGES]
        ways: dict[str, Callable[[Path], None]] = {
            "bare": partial(prepare_barely, patient, grids, data.preparation.window[0]),
            "prepare": lambda output: prepare_silently(source="ircadb", input=path, output=output),
        }
        processor: dict[str, list[float]] = {way: [] for way in ways}
        calls = {way: partial(_counted, write, processor[way]) for way, write in ways.items()}
        timed = interleaved(calls, torch.device("cpu"), rounds)
        truth = read_labels(data.labels(name))
        by_stage = {str(stage): _dice(data, stage, name, truth) for stage in STAGES}
    return {
        "case": name,
        "dice": by_stage,
        "seconds": {way: timing._asdict() for way, timing in timed.items()},
        "ratio": timed["prepare"].median / timed["bare"].median,
        # The first call of each is a warm-up.
        "processor_seconds": {way: statistics.median(seconds[1:]) for way, seconds in processor.items()},
    }


def _counted(write: Callable[[Path], None], seconds: list[float]) -> None:
    """Write into a temporary folder and note the processor time, which does not grow while the machine is busy."""
    with tempfile.TemporaryDirectory() as output:
        before = time.process_time()
        write(Path(output))
        seconds.append(time.process_time() - before)


def _dice(data: PreparedSet, stage: Stage, name: str, truth: sitk.Image) -> dict[str, float | None]:
    case = data.case(stage, name)
    shares = np.stack([case.labels == label for label in range(4)]).astype(np.float32)
    back = sitk.GetArrayFromImage(restore_probabilities(shares, case.grid, Grid.of(truth)))
    true = sitk.GetArrayViewFromImage(truth)
    return {
        "liver": dice(back >= LIVER, true >= LIVER),
        "tumor": dice(back == TUMOR, true == TUMOR),
        "vessel": dice(back == VESSEL, true == VESSEL),
    }
