"""Preparing a data set: every case of a source onto the grids of both stages, in parallel, each whole or not at all."""

import json
import os
import shutil
import signal
import tempfile
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from jaxtyping import UInt8
from numpy import ndarray
from tqdm import tqdm

from ltvs.case import Case
from ltvs.errors import InputError
from ltvs.files import read_json, write_json
from ltvs.grids import Grid, liver_grid, whole_grid
from ltvs.images import write_volume
from ltvs.labels import BACKGROUND, LIVER, TUMOR, VESSEL
from ltvs.prepared import FORMAT, Preparation
from ltvs.resample import resample_image, resample_labels
from ltvs.sources import Source

_TEMPORARY = ".preparing-"


@dataclass(frozen=True)
class Recipe:
    """All that decides what a prepared case holds; a case with the same recipe need not be prepared again.

    Args:
        source: where cases come from, as JSON holds it.
        preparation: what is done to each of them.
    """

    source: dict[str, Any]
    preparation: Preparation

    def json(self) -> dict[str, Any]:
        """The recipe as it is when read back from JSON: lists, no tuples."""
        content = {"format": FORMAT, "source": self.source, "preparation": self.preparation.json()}
        return dict(json.loads(json.dumps(content)))


@dataclass(frozen=True)
class Outcome:
    """What became of a source's cases.

    Args:
        done: names of the cases that are prepared now, made in this run or before.
        failed: reason by name of the cases that could not be used.
    """

    done: list[str]
    failed: dict[str, str]


def prepare_cases(source: Source, recipe: Recipe, output: Path, workers: int) -> Outcome:
    """Prepare every case of `source` into `output`; one bad case does not stop the others.

    A case that `output` has already, prepared with the same recipe, is kept. Until `write_description` is called
    the folder is not a data set, so that a run that was killed is not mistaken for a finished one.

    Raises:
        InputError: `output` cannot be written to.
    """
    try:
        output.mkdir(parents=True, exist_ok=True)
        for left_over in output.glob(f"{_TEMPORARY}*"):
            shutil.rmtree(left_over)
        todo = {name: entry for name, entry in source.items() if not _is_done(output, name, recipe)}
        if todo:
            (output / "dataset.json").unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"{output}: cannot be written ({error.strerror})") from error
    results = _run(todo, recipe, output, max(1, min(workers, len(todo))))
    progress = tqdm(results, total=len(todo), desc="preparing", unit="case", disable=not todo)
    failed = {name: reason for name, reason in progress if reason}
    return Outcome(sorted(set(source) - set(failed)), failed)


def write_description(output: Path, recipe: Recipe, cases: list[str], split: dict[str, list[str]]) -> None:
    """Write split.json and dataset.json, which make the folder a prepared data set."""
    write_json(output / "split.json", split)
    write_json(output / "dataset.json", recipe.json() | {"cases": cases})


def prepare_case(load: Callable[[], Case], recipe: Recipe, output: Path, name: str) -> None:
    """Load one case and write all that is made from it, moved into place when it is complete.

    Raises:
        InputError: the case cannot be used, or the files cannot be written.
    """
    case = load()
    labels = compose_labels(case)
    preparation = recipe.preparation
    fine, liver_fine = preparation.stage1, preparation.stage2
    grids = {
        "stage1": whole_grid(case.ct, fine.pixels, fine.slice_spacing),
        "stage2": liver_grid(labels, liver_fine.pixels, liver_fine.slice_spacing, preparation.margin),
    }
    try:
        with tempfile.TemporaryDirectory(prefix=_TEMPORARY, dir=output) as folder:
            temporary = Path(folder)
            write_volume(case.ct, temporary / "images.nii.gz")
            write_volume(labels, temporary / "labels.nii.gz")
            for stage, grid in grids.items():
                (temporary / stage).mkdir()
                image = resample_image(case.ct, grid, preparation.window)
                np.save(temporary / stage / "image.npy", sitk.GetArrayViewFromImage(image))
                resampled = resample_labels(labels, grid)
                np.save(temporary / stage / "labels.npy", sitk.GetArrayViewFromImage(resampled))
                write_json(temporary / stage / "grid.json", grid.json())
            write_json(temporary / "stage2" / "recipe.json", recipe.json())
            _move(temporary, output, name)
    except OSError as error:
        raise InputError(f"{output}: case {name} cannot be written ({error.strerror})") from error


def compose_labels(case: Case) -> sitk.Image:
    """One label map of a case's masks: vessels outside the liver removed, tumors above vessels above liver.

    A tumor that breaches the surface of the liver stays whole and counts as liver.

    Raises:
        InputError: the liver is empty.
    """
    liver, tumor = (sitk.GetArrayViewFromImage(mask) > 0 for mask in (case.liver, case.tumor))
    if not liver.any():
        raise InputError(f"{case.name}: expected a liver, got an empty mask")
    labels: UInt8[ndarray, "d h w"] = np.full(liver.shape, BACKGROUND, dtype=np.uint8)
    labels[liver] = LIVER
    if case.vessel is not None:
        labels[liver & (sitk.GetArrayViewFromImage(case.vessel) > 0)] = VESSEL
    labels[tumor] = TUMOR
    return Grid.of(case.ct).place(sitk.GetImageFromArray(labels))


def _move(temporary: Path, output: Path, name: str) -> None:
    """Rename the parts of a case to where they belong; stage 2 goes first and comes last, as it says what is done."""
    targets = {f"{kind}.nii.gz": output / kind / f"{name}.nii.gz" for kind in ("images", "labels")}
    targets |= {stage: output / stage / name for stage in ("stage1", "stage2")}
    for stage in ("stage2", "stage1"):
        if targets[stage].exists():
            # Renamed before it is removed, so that a case half removed is never taken for a whole one.
            targets[stage].replace(temporary / f"old-{stage}")
    for part, target in targets.items():
        target.parent.mkdir(exist_ok=True)
        (temporary / part).replace(target)


def _is_done(output: Path, name: str, recipe: Recipe) -> bool:
    written = output / "stage2" / name / "recipe.json"
    try:
        return bool(read_json(written) == recipe.json())
    except InputError:
        return False


def _run(todo: Source, recipe: Recipe, output: Path, processes: int) -> Iterator[tuple[str, str | None]]:
    """Prepare the cases, in this process or in several; yield each name with the reason if it failed."""
    if processes == 1:
        for name, entry in todo.items():
            yield name, _attempt(entry.load, recipe, output, name)
        return
    # Fresh processes: a forked one would inherit ITK's locked thread pool and could hang.
    threads = max(1, (os.cpu_count() or 1) // processes)
    pool = ProcessPoolExecutor(processes, get_context("spawn"), _start_worker, (threads,))
    try:
        running = {pool.submit(_attempt, entry.load, recipe, output, name): name for name, entry in todo.items()}
        for future in as_completed(running):
            try:
                yield running[future], future.result()
            except BrokenProcessPool:
                yield running[future], "its process was ended, perhaps for want of memory; try --workers 1"
    finally:
        pool.shutdown(cancel_futures=True)


def _start_worker(threads: int) -> None:
    """Share the processor, and leave Ctrl-C to the parent, which lets cases in work end and starts no more."""
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _attempt(load: Callable[[], Case], recipe: Recipe, output: Path, name: str) -> str | None:
    """Prepare one case; the reason if that fails. Whatever goes wrong with one case must not stop the others."""
    try:
        prepare_case(load, recipe, output, name)
    except InputError as error:
        return str(error)
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        reason = " ".join(str(error).split())
        return f"unexpected {type(error).__name__}: {reason} ({Path(where.filename).name}, line {where.lineno})"
    return None
