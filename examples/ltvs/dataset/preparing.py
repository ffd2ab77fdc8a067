"""Preparing a data set: every case of a source onto the grids of both stages, in parallel, each whole or not at all."""

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from jaxtyping import UInt8
from numpy import ndarray
from tqdm import tqdm

from ltvs.dataset.arrays import write_case
from ltvs.dataset.checks import examine, repeated
from ltvs.dataset.digests import digests
from ltvs.dataset.layout import FORMAT, Split
from ltvs.dataset.provenance import Recipe, Record, read_records, record_path, unusable_records
from ltvs.model.preparation import Preparation
from ltvs.model.stages import STAGES
from ltvs.runtime.errors import InputError
from ltvs.runtime.files import TEMPORARY, write_json
from ltvs.runtime.locks import locked
from ltvs.runtime.workers import Failure, work_through
from ltvs.sources import Entry, Source
from ltvs.sources.identity import check_apart
from ltvs.volume.case import Case
from ltvs.volume.grids import Grid
from ltvs.volume.images import write_volume
from ltvs.volume.labels import BACKGROUND, LIVER, STRUCTURES, TUMOR, VESSEL
from ltvs.volume.resampling import resample_labels

#: The splits of a data set by the names of their files, given the patient of each case.
Divide = Callable[[Mapping[str, str]], dict[str, Split]]

_PREPARING = ".preparing-"


@dataclass(frozen=True)
class Outcome:
    """What became of a source's cases, and of the data set.

    Args:
        patients: whose each case of the data set is, by name.
        made: names of the cases that this run prepared; the others were there.
        kept: names of the cases of other sources that were there and stay.
        left_out: names of the cases that were there and that the source no longer has.
        failed: reason by name of the cases that cannot be used.
        odd: names of the cases that this run prepared and that have warnings.
        splits: by the names of their files.
    """

    patients: dict[str, str]
    made: list[str]
    kept: list[str]
    left_out: list[str]
    failed: dict[str, str]
    odd: list[str]
    splits: dict[str, Split]


@dataclass(frozen=True)
class _Plan:
    """What is to be done: cases to prepare, those that need not be, and those that cannot be."""

    todo: Source
    contents: dict[str, str | None]
    done: dict[str, Record]
    kept: dict[str, Record]
    left_out: list[str]
    failed: dict[str, str]

    def patients(self) -> dict[str, str]:
        there = {name: record.patient for name, record in (self.kept | self.done).items()}
        return there | {name: entry.patient for name, entry in self.todo.items()}


def prepare_set(source: Source, recipe: Recipe, output: Path, workers: int, divide: Divide) -> Outcome:
    """Make `output` a prepared data set of the cases of `source`, and of those of other sources that it has already.

    A case that is there, whole, prepared with the same recipe from files with the same content, is kept; one bad case
    does not stop the others. Until all is done the folder is not a data set, so that a run that was killed is not
    mistaken for a finished one.

    Raises:
        InputError: `output` cannot be written to, is at work already, holds cases that were prepared otherwise, or
            cannot be divided, or would hold patients of two public cohorts that may be the same.
    """
    with locked(output):
        _clear(output)
        plan = _plan(source, recipe, output, workers)
        patients = plan.patients()
        check_apart(patients)
        divide(patients)  # what cannot be is said before the work
        try:
            return _carry_out(plan, recipe, output, workers, divide)
        finally:
            _clear(output)


def write_description(
    output: Path, preparation: Preparation, records: Mapping[str, Record], splits: Mapping[str, Split]
) -> None:
    """Write the splits, then dataset.json, which makes the folder a prepared data set; folds of before are removed.

    Args:
        output: folder of the data set.
        preparation: of all cases.
        records: of all cases by name.
        splits: by the names of their files.

    Raises:
        InputError: the files cannot be written.
    """
    for old in [output / "dataset.json", *output.glob("fold*.json")]:
        old.unlink(missing_ok=True)
    for name, split in splits.items():
        write_json(output / name, split)
    structures = [name for name in STRUCTURES if all(name in record.structures for record in records.values())]
    cases = {name: records[name].patient for name in sorted(records)}
    content = {"format": FORMAT, "preparation": preparation.json(), "structures": structures, "cases": cases}
    write_json(output / "dataset.json", content)


def prepare_case(entry: Entry, content: str | None, recipe: Recipe, output: Path, name: str) -> tuple[Record, bool]:
    """Load one case and write all that is made from it, moved into place when it is complete.

    Args:
        entry: the case.
        content: digest of its files.
        recipe: what is done to it.
        output: folder of the data set.
        name: of the case.

    Returns:
        Its record, and whether there are warnings.

    Raises:
        InputError: the case cannot be used, or the files cannot be written.
    """
    try:
        with tempfile.TemporaryDirectory(prefix=_PREPARING, dir=output) as folder:
            with _unpacking_into(folder):
                case = entry.load()
            report = examine(case, recipe.preparation)
            if (errors := report.texts("error")) or report.facts is None:
                raise InputError("; ".join(errors))
            (Path(folder) / "made").mkdir()
            files = _write_parts(case, recipe.preparation, Path(folder) / "made", name)
            record = Record(recipe.json(), recipe.origin, entry.patient, content, report.facts.ct, files)
            write_json(record_path(Path(folder) / "made", name), record.json())
            _move(Path(folder), output, name)
    except OSError as error:
        reason = error.strerror or f"{error}; is the disk full?"  # NumPy says how many bytes, not why
        raise InputError(f"{output}: case {name} cannot be written ({reason})") from error
    return record, bool(report.texts("warning"))


def compose_labels(case: Case) -> sitk.Image:
    """One label map of a case's masks: vessels outside the liver removed, tumors above vessels above liver.

    A tumor that breaches the surface of the liver stays whole and counts as liver.
    """
    liver, tumor = (sitk.GetArrayViewFromImage(mask) > 0 for mask in (case.liver, case.tumor))
    labels: UInt8[ndarray, "d h w"] = np.full(liver.shape, BACKGROUND, dtype=np.uint8)
    labels[liver] = LIVER
    if case.vessel is not None:
        labels[liver & (sitk.GetArrayViewFromImage(case.vessel) > 0)] = VESSEL
    labels[tumor] = TUMOR
    return Grid.of(case.ct).place(sitk.GetImageFromArray(labels))


def _plan(source: Source, recipe: Recipe, output: Path, workers: int) -> _Plan:
    """Compare what the source has with what is there."""
    there = read_records(output)
    contents = _contents(source, workers)
    done = {name: record for name, record in there.items() if name in source and record.made_by(recipe, contents[name])}
    failed = {
        name: (
            f"{name}: was prepared by an older version or is damaged; prepare it again from {record.origin}, or remove "
            f"{record_path(output, name)} to do without it"
        )
        for name, record in unusable_records(output).items()
        if name not in source and record.origin != recipe.origin
    }
    for name in source.keys() & there.keys() - done.keys():
        record = there[name]
        if record.origin != recipe.origin and record.content != contents[name]:
            failed[name] = (
                f"{name}: the data set has another case of this name, from {record.origin}; "
                f"rename one of the two, give another --output, or remove {record_path(output, name)} to replace it"
            )
    others = {name: record for name, record in there.items() if name not in source or name in failed}
    kept = {name: record for name, record in others.items() if record.origin != recipe.origin}
    otherwise = sorted(name for name, record in kept.items() if record.preparation != recipe.json()["preparation"])
    if otherwise:
        raise InputError(
            f"{output}: holds {len(otherwise)} cases of {kept[otherwise[0]].origin} that were prepared with other "
            "settings; give the same settings, or another --output"
        )
    todo = {name: entry for name, entry in source.items() if name not in done and name not in failed}
    left_out = sorted(others.keys() - kept.keys())
    return _Plan(todo, contents, done, kept, left_out, failed)


def _carry_out(plan: _Plan, recipe: Recipe, output: Path, workers: int, divide: Divide) -> Outcome:
    if plan.todo:
        (output / "dataset.json").unlink(missing_ok=True)
    for name in [*plan.todo, *plan.left_out]:
        record_path(output, name).unlink(missing_ok=True)
    made, odd, failed = _prepare_all(plan, recipe, output, workers)
    # What was there first stays, if a CT is there twice.
    records = plan.kept | plan.done | made
    patients = {name: record.patient for name, record in records.items()}
    for name, findings in repeated({name: record.ct for name, record in records.items()}, patients).items():
        odd.add(name)
        for error in (finding.text for finding in findings if finding.level == "error"):
            record_path(output, name).unlink(missing_ok=True)
            del patients[name]
            failed[name] = error
    try:
        splits = divide(patients) if patients else {}
    except InputError as error:
        raise InputError(f"{error}; cases that cannot be used: {'; '.join(failed.values())}") from error
    if patients:
        write_description(output, recipe.preparation, {name: records[name] for name in patients}, splits)
    kept, good = sorted(plan.kept.keys() & patients.keys()), sorted(made.keys() & patients.keys())
    return Outcome(patients, good, kept, plan.left_out, failed, sorted(odd.intersection(good)), splits)


def _prepare_all(
    plan: _Plan, recipe: Recipe, output: Path, workers: int
) -> tuple[dict[str, Record], set[str], dict[str, str]]:
    """Prepare what is to be prepared; its records, the names of what is odd, and why the others failed."""
    made, odd, failed = {}, set(), dict(plan.failed)
    tasks = {
        name: partial(prepare_case, entry, plan.contents[name], recipe, output, name)
        for name, entry in plan.todo.items()
    }
    with closing(work_through(tasks, max(1, min(workers, len(tasks))))) as results:
        for name, result in tqdm(results, total=len(tasks), desc="preparing", unit="case", disable=not tasks):
            if isinstance(result, Failure):
                failed[name] = result.reason
                continue
            made[name], is_odd = result
            if is_odd:
                odd.add(name)
    return dict(sorted(made.items())), odd, failed


def _contents(source: Source, threads: int) -> dict[str, str | None]:
    """The digest of each case's files; None if one cannot be read."""
    found = digests({path for entry in source.values() for path in entry.files}, threads)
    contents: dict[str, str | None] = {}
    for name, entry in source.items():
        of_case = [found[path] for path in entry.files]
        contents[name] = None if None in of_case else "-".join(str(digest) for digest in of_case)
    return contents


def _write_parts(case: Case, preparation: Preparation, folder: Path, name: str) -> dict[str, int]:
    """Write all that is made from a case, as a data set has it, into a folder; return the size of each file."""
    labels = compose_labels(case)
    write_volume(case.ct, folder / "images" / f"{name}.nii.gz")
    write_volume(labels, folder / "labels" / f"{name}.nii.gz")
    for stage in STAGES:
        view = preparation.view(stage)
        grid = view.grid(case.ct, labels)
        on_grid = sitk.GetArrayFromImage(resample_labels(labels, grid))
        write_case(folder / f"stage{stage}" / name, view.hu(case.ct, grid), on_grid, grid, view)
    return {str(path.relative_to(folder)): path.stat().st_size for path in sorted(folder.rglob("*")) if path.is_file()}


def _move(temporary: Path, output: Path, name: str) -> None:
    """Rename the parts of a case to where they belong; stage 2 goes first and comes last, as it says what is done."""
    parts = [f"images/{name}.nii.gz", f"labels/{name}.nii.gz", f"stage1/{name}", f"stage2/{name}"]
    for part in (f"stage2/{name}", f"stage1/{name}"):
        if (output / part).exists():
            # Renamed before it is removed, so that a case half removed is never taken for a whole one.
            (output / part).replace(temporary / f"old-{Path(part).parent}")
    for part in parts:
        (output / part).parent.mkdir(exist_ok=True)
        (temporary / "made" / part).replace(output / part)


def _clear(output: Path) -> None:
    """Remove what a run that was killed has left."""
    for prefix in (_PREPARING, TEMPORARY):
        for folder in output.glob(f"{prefix}*"):
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _unpacking_into(folder: str) -> Iterator[None]:
    """Let sources unpack into a folder that the next run clears if this one is killed, not where it would stay."""
    before, tempfile.tempdir = tempfile.tempdir, folder
    try:
        yield
    finally:
        tempfile.tempdir = before
