"""Preparing a data set: every case of a source onto the grids of both stages, in parallel, each whole or not at all."""

import os
import shutil
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from tqdm import tqdm

from ltvs.case import Case
from ltvs.errors import InputError
from ltvs.files import read_json, write_json
from ltvs.grids import Grid, liver_grid, whole_grid
from ltvs.images import write_volume
from ltvs.labels import LIVER, TUMOR, VESSEL
from ltvs.prepared import FORMAT, Preparation
from ltvs.resample import resample_image, resample_labels
from ltvs.sources import Source


@dataclass(frozen=True)
class Outcome:
    """What became of a source's cases.

    Args:
        done: names of the cases that are prepared now, made in this run or before.
        failed: reason by name of the cases that could not be used.
    """

    done: list[str]
    failed: dict[str, str]


def prepare_cases(source: Source, preparation: Preparation, output: Path, workers: int) -> Outcome:
    """Prepare every case of `source` into `output`; one bad case does not stop the others.

    A case that `output` has already, prepared with the same settings, is kept.
    """
    output.mkdir(parents=True, exist_ok=True)
    todo = {name: load for name, load in source.items() if not _is_done(output, name, preparation)}
    failed: dict[str, str] = {}
    with ProcessPoolExecutor(max(1, min(workers, len(todo)))) as pool:
        running = {pool.submit(prepare_case, load, preparation, output, name): name for name, load in todo.items()}
        for future in tqdm(as_completed(running), total=len(running), desc="preparing", unit="case", disable=not running):
            error = future.exception()
            if isinstance(error, InputError):
                failed[running[future]] = str(error)
            elif error is not None:
                raise error
    return Outcome(sorted(set(source) - set(failed)), failed)


def prepare_case(load: Callable[[], Case], preparation: Preparation, output: Path, name: str) -> None:
    """Load one case and write all that is made from it; the folder of stage 2, which comes last, marks it as done."""
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    case = load()
    labels = compose_labels(case)
    write_volume(case.ct, output / "images" / f"{name}.nii.gz")
    write_volume(labels, output / "labels" / f"{name}.nii.gz")
    fine, liver_fine = preparation.stage1, preparation.stage2
    grids = {
        1: whole_grid(case.ct, fine.pixels, fine.slice_spacing),
        2: liver_grid(labels, liver_fine.pixels, liver_fine.slice_spacing, preparation.margin),
    }
    for stage, grid in grids.items():
        _write_arrays(case.ct, labels, grid, preparation, output / f"stage{stage}" / name)


def compose_labels(case: Case) -> sitk.Image:
    """One label map of a case's masks: vessels outside the liver removed, tumours above vessels above liver.

    A tumour that breaches the surface of the liver stays whole and counts as liver.
    """
    liver, vessel, tumor = (sitk.GetArrayViewFromImage(mask) > 0 for mask in (case.liver, case.vessel, case.tumor))
    labels = np.zeros(liver.shape, dtype=np.uint8)
    labels[liver] = LIVER
    labels[liver & vessel] = VESSEL
    labels[tumor] = TUMOR
    if not labels.any():
        raise InputError(f"{case.name}: the liver mask is empty")
    return Grid.of(case.ct).place(sitk.GetImageFromArray(labels))


def _write_arrays(ct: sitk.Image, labels: sitk.Image, grid: Grid, preparation: Preparation, folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=".writing-", dir=folder.parent))
    try:
        np.save(temporary / "image.npy", sitk.GetArrayFromImage(resample_image(ct, grid, preparation.window)))
        np.save(temporary / "labels.npy", sitk.GetArrayFromImage(resample_labels(labels, grid)))
        write_json(temporary / "grid.json", grid.json())
        write_json(temporary / "preparation.json", preparation.json())
        temporary.chmod(0o755)
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(temporary, folder)
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror})") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _is_done(output: Path, name: str, preparation: Preparation) -> bool:
    marker = output / "stage2" / name / "preparation.json"
    return marker.is_file() and Preparation.from_json(read_json(marker)) == preparation


def write_description(output: Path, source: str, preparation: Preparation, cases: list[str]) -> None:
    """Write dataset.json, which makes the folder a prepared data set."""
    write_json(
        output / "dataset.json",
        {"format": FORMAT, "source": source, "preparation": preparation.json(), "cases": cases},
    )
