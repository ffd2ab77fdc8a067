"""Prepare one case: load it, check it, resample it to the grids of both stages, and move it into the data set whole."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from jaxtyping import UInt8
from numpy import ndarray

from ltvs.dataset.arrays import write_case
from ltvs.dataset.checks import examine
from ltvs.dataset.digests import digest
from ltvs.dataset.provenance import Recipe, Record, record_path
from ltvs.model.stage_view import Preparation
from ltvs.model.stages import STAGES
from ltvs.runtime.errors import InputError
from ltvs.runtime.files import write_json
from ltvs.sources import Entry
from ltvs.volume.case import Case
from ltvs.volume.grids import Grid
from ltvs.volume.images import write_volume
from ltvs.volume.labels import BACKGROUND, LIVER, TUMOR, VESSEL
from ltvs.volume.resampling import resample_labels

#: Prefix of the temporary folders of cases, which a killed run leaves behind.
PREPARING = ".preparing-"


def prepare_case(entry: Entry, content: str | None, recipe: Recipe, output: Path, name: str) -> tuple[Record, bool]:
    """Load one case and write everything that is made from it, moved into place once it is complete.

    Args:
        entry: the case.
        content: digest of its files.
        recipe: how it is prepared.
        output: folder of the data set.
        name: of the case.

    Returns:
        Its record, and whether there are warnings.

    Raises:
        InputError: the case cannot be used, or the files cannot be written.
    """
    try:
        with tempfile.TemporaryDirectory(prefix=PREPARING, dir=output, ignore_cleanup_errors=True) as folder:
            with _unpacking_into(folder):
                case = entry.load()
            report = examine(case, recipe.preparation, force=recipe.force)
            if (errors := report.texts("error")) or report.facts is None:
                raise InputError("; ".join(errors))
            (Path(folder) / "made").mkdir()
            files = _write_parts(case, recipe.preparation, Path(folder) / "made", name)
            record = Record(recipe.json(), recipe.origin, entry.patient, content, report.facts.ct, files)
            write_json(record_path(Path(folder) / "made", name), record.json())
            _move(Path(folder), output, name)
    except OSError as error:
        reason = error.strerror or f"{error}; is the disk full?"  # NumPy gives the number of bytes, not the reason
        raise InputError(f"{output}: case {name} cannot be written ({reason})") from error
    return record, bool(report.texts("warning"))


def case_parts(name: str) -> tuple[str, ...]:
    """Return the files and folders of a case, by their paths in the data set."""
    return f"images/{name}.nii.gz", f"labels/{name}.nii.gz", f"stage1/{name}", f"stage2/{name}"


def compose_labels(case: Case) -> sitk.Image:
    """Return one label map of a case's masks: no vessels outside the liver; tumors over vessels over liver.

    A tumor that breaches the surface of the liver stays whole and counts as liver.
    """
    liver, tumor = (sitk.GetArrayViewFromImage(mask) > 0 for mask in (case.liver, case.tumor))
    labels: UInt8[ndarray, "d h w"] = np.full(liver.shape, BACKGROUND, dtype=np.uint8)
    labels[liver] = LIVER
    if case.vessel is not None:
        labels[liver & (sitk.GetArrayViewFromImage(case.vessel) > 0)] = VESSEL
    labels[tumor] = TUMOR
    return Grid.of(case.ct).place(sitk.GetImageFromArray(labels))


def _write_parts(case: Case, preparation: Preparation, folder: Path, name: str) -> dict[str, str]:
    """Write everything that is made from a case into a folder laid out as a data set; return digests by file."""
    labels = compose_labels(case)
    write_volume(case.ct, folder / "images" / f"{name}.nii.gz")
    write_volume(labels, folder / "labels" / f"{name}.nii.gz")
    for stage in STAGES:
        view = preparation.view(stage)
        grid = view.grid(case.ct, labels)
        on_grid = sitk.GetArrayFromImage(resample_labels(labels, grid))
        write_case(folder / f"stage{stage}" / name, view.hu(case.ct, grid), on_grid, grid, view)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): str(digest(path)) for path in files}


def _move(temporary: Path, output: Path, name: str) -> None:
    """Rename the parts of a case into place; stage 2, with the record, is removed first and put in place last."""
    parts = case_parts(name)
    for part in parts:
        (output / part).parent.mkdir(exist_ok=True)
    for part in (f"stage2/{name}", f"stage1/{name}"):
        if (output / part).exists():
            # Renamed before it is removed, so that a half-removed case is never taken for a whole one.
            (output / part).replace(temporary / f"old-{Path(part).parent}")
    for part in parts:
        (temporary / "made" / part).replace(output / part)


@contextmanager
def _unpacking_into(folder: str) -> Iterator[None]:
    """Make sources unpack into a folder that the next run clears if this one is killed."""
    before, tempfile.tempdir = tempfile.tempdir, folder
    try:
        yield
    finally:
        tempfile.tempdir = before
