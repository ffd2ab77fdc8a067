"""Prepare a data set: compare a source with the cases that are there, prepare the rest in parallel, and split them.

If the run is killed, each case is whole or absent. The folder is a data set only once all cases are prepared.
"""

import os
import shutil
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from tqdm import tqdm

from ltvs.dataset.checks import repeated
from ltvs.dataset.digests import digests
from ltvs.dataset.layout import FORMAT, Split
from ltvs.dataset.one_case import PREPARING, case_parts, prepare_case
from ltvs.dataset.painting import paint_all
from ltvs.dataset.provenance import Recipe, Record, read_records, record_path, unusable_records
from ltvs.model.stage_view import Preparation
from ltvs.runtime.errors import InputError, few
from ltvs.runtime.files import TEMPORARY, write_json
from ltvs.runtime.locks import locked
from ltvs.runtime.workers import Failure, work_through
from ltvs.sources import Source
from ltvs.sources.identity import check_apart
from ltvs.volume.labels import STRUCTURES

#: The splits of a data set by the names of their files, given the patient of each case.
Divide = Callable[[Mapping[str, str]], dict[str, Split]]


@dataclass(frozen=True)
class Outcome:
    """The result of preparing: what became of the cases of a source, and the data set.

    Args:
        patients: the patient of each case of the data set, by name.
        made: names of the cases that this run prepared; the others were there before.
        kept: names of the cases of other sources that were there before and stay.
        left_out: names of the cases that were there before and that the source no longer has.
        failed: the reason, by name, for each case that cannot be used.
        odd: names of the cases that this run prepared and that have warnings.
        splits: by the names of their files.
        painted: number of synthetic patients that this run painted as maps of tissues.
    """

    patients: dict[str, str]
    made: list[str]
    kept: list[str]
    left_out: list[str]
    failed: dict[str, str]
    odd: list[str]
    splits: dict[str, Split]
    painted: int = 0


@dataclass(frozen=True)
class _Plan:
    """Cases to prepare, cases that need no preparing, and cases that cannot be used."""

    todo: Source
    contents: dict[str, str | None]
    done: dict[str, Record]
    kept: dict[str, Record]
    left_out: list[str]
    failed: dict[str, str]

    def patients(self) -> dict[str, str]:
        there = {name: record.patient for name, record in (self.kept | self.done).items()}
        return there | {name: entry.patient for name, entry in self.todo.items()}


def prepare_set(source: Source, recipe: Recipe, output: Path, workers: int, divide: Divide, maps: int = 0) -> Outcome:
    """Make `output` a prepared data set of the cases of `source`, and of those of other sources that it already holds.

    A whole case, prepared with the same recipe from files with the same content, is kept; one bad case does not stop
    the others. Until everything is done the folder is not a data set, so that an interrupted run is not mistaken for a
    finished one.

    Args:
        source: the cases.
        recipe: decides the content of each prepared case.
        output: folder of the data set.
        workers: number of cases prepared at a time.
        divide: makes the splits.
        maps: number of synthetic patients to paint as maps of tissues, too.

    Raises:
        InputError: `output` cannot be written to, is in use by another process, holds cases that were prepared
            differently, cannot be split, or would hold patients of two public cohorts that may be the same.
    """
    with locked(output):
        _clear(output)
        _check_own(source, output)
        plan = _plan(source, recipe, output, workers)
        patients = plan.patients()
        check_apart(patients)
        divide(patients)  # a split that is impossible is an error before the work, not after it
        try:
            painted = paint_all(maps, output, workers) if maps else 0
            return replace(_carry_out(plan, recipe, output, workers, divide), painted=painted)
        finally:
            _clear(output)


def write_description(
    output: Path, preparation: Preparation, records: Mapping[str, Record], splits: Mapping[str, Split]
) -> None:
    """Write the splits, then dataset.json, which makes the folder a prepared data set; remove earlier folds.

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


def _check_own(source: Source, output: Path) -> None:
    """Raise InputError if files would be replaced that are of no data set: `stage2` is there before any of them."""
    if (output / "stage2").is_dir():
        return
    parts = (part for name in source for part in case_parts(name))
    if foreign := sorted(part for part in parts if os.path.lexists(output / part)):
        raise InputError(f"{output}: holds {few(foreign)}, but no prepared data set; give another --output")


def _plan(source: Source, recipe: Recipe, output: Path, workers: int) -> _Plan:
    """Compare the cases of the source with those that are prepared."""
    there = read_records(output, workers)
    contents = _contents(source, workers)
    done = {name: record for name, record in there.items() if name in source and record.made_by(recipe, contents[name])}
    failed = {
        name: (
            f"{name}: was prepared by an older version or is damaged; prepare it again from {record.origin}, or remove "
            f"{record_path(output, name)} to do without it"
        )
        for name, record in unusable_records(output, there).items()
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
    # Of two cases with the same CT, the earlier one stays.
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
    """Prepare the cases to do; return their records, the names of odd ones, and why the others failed."""
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
    """Return the digest of each case's files; None if one cannot be read."""
    found = digests({path for entry in source.values() for path in entry.files}, threads)
    contents: dict[str, str | None] = {}
    for name, entry in source.items():
        of_case = [found[path] for path in entry.files]
        contents[name] = None if None in of_case else "-".join(str(digest) for digest in of_case)
    return contents


def _clear(output: Path) -> None:
    """Remove the temporary folders that a killed run has left."""
    for prefix in (PREPARING, TEMPORARY):
        for folder in output.glob(f"{prefix}*"):
            shutil.rmtree(folder, ignore_errors=True)
