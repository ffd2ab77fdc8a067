"""Label the inputs of a command: one CT into a label map, or any number into a folder, with files and a table."""

import os
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from ltvs.prediction.answer import Labeler
from ltvs.prediction.asked import Asked, beside
from ltvs.prediction.cluster import Place
from ltvs.prediction.found import OTHER_MODALITY, SINGLE, Findings, FoundCT
from ltvs.prediction.job import Job, with_names_of_before
from ltvs.prediction.processes import share_out
from ltvs.prediction.progress import Display
from ltvs.prediction.record import RECORDS, Record, content_digest
from ltvs.prediction.table import CASES, WRITTEN, Row, read_rows, write_tables
from ltvs.runtime.errors import InputError, few
from ltvs.runtime.files import TEMPORARY, remove_leftovers
from ltvs.runtime.locks import BusyError, locked
from ltvs.runtime.outputs import check_new_files
from ltvs.volume.images import VOLUME_SUFFIXES

#: Why a case has no row after a command: its record was begun anew by another one, or its labels are gone.
_UNSETTLED = "another command is at work on it, or its labels were removed; give the same command again"


def start_labeler(asked: Asked, device: str) -> Labeler:
    """Return what labels; here, since its libraries take seconds to import, which only some processes need."""
    from ltvs.prediction.one_case import PipelineLabeler

    return PipelineLabeler(asked, device)


def check_found(findings: Findings, inputs: Sequence[Path]) -> None:
    """Raise InputError if there is no CT in any input."""
    if findings.cts:
        return
    shown = few([str(path) for path in inputs])
    others = sorted(why.removeprefix(OTHER_MODALITY) for why in findings.passed_over if why.startswith(OTHER_MODALITY))
    if others:
        raise InputError(
            f"{shown}: expected a series of Modality CT, got {', '.join(others)}; give the CT series, or --force to "
            "take this one as it is"
        )
    passed_over = "; ".join(["", *findings.lines()])
    remedy = "; give the folder with all slices" if SINGLE in findings.passed_over else ""
    raise InputError(
        f"{shown}: no DICOM series found, and no file that ends in {', '.join(VOLUME_SUFFIXES)}{passed_over}{remedy}"
    )


def with_problems(ct: FoundCT, asked: Asked) -> FoundCT:
    """Return a CT with the reason why what is asked for cannot be made of it, if it cannot."""
    if asked.dicom_seg and ct.slices is None and not ct.problem:
        return replace(ct, problem=f"{ct.shown}: is no DICOM series, which --dicom-seg refers to; leave it out")
    return ct


def only_ct(findings: Findings, output: Path) -> FoundCT:
    """Return the CT whose labels a file is to hold.

    Raises:
        InputError: there are several.
    """
    if len(findings.cts) > 1:
        shown = few([ct.shown for ct in findings.cts])
        raise InputError(
            f"--output {output}: is one label map, expected one CT as --input; got {len(findings.cts)} ({shown}); give "
            "the name of a folder as --output"
        )
    return findings.cts[0]


def label_one(
    ct: FoundCT, labels: Path, asked: Asked, device: str, display: Display
) -> tuple[list[Path], tuple[str, ...]]:
    """Label a CT in this process; return the files written, and the doubts about the labels.

    Raises:
        InputError: it cannot be labeled, or no liver is found; no file is written.
    """
    if ct.problem:
        raise InputError(ct.problem)
    display.begin([ct.name])
    display.hear(0, "begun", ct.name)
    labeler = start_labeler(asked, device)
    above = next(folder for folder in labels.absolute().parents if folder.is_dir())
    with tempfile.TemporaryDirectory(prefix=TEMPORARY, dir=above) as folder:
        try:
            answer = labeler.label(
                ct, Path(folder) / labels.name, lambda *step: display.hear(0, "step", ct.name, *step)
            )
        except InputError as error:
            said = str(error).replace(f"{folder}{os.sep}", f"{labels.parent}{os.sep}").replace(str(ct.place), ct.shown)
            named = ct.shown in said or folder in str(error)
            raise InputError(said if named else f"{ct.shown}: {said}") from error
        if answer.no_liver:
            raise InputError(f"{ct.shown}: {answer.no_liver}")
        labels.parent.mkdir(parents=True, exist_ok=True)
        written = sorted(Path(folder).iterdir())
        for file in written:
            file.replace(labels.with_name(file.name))
    names = {file.name for file in written}
    for file in files_of(labels, asked):
        if file.name not in names:  # of a structure that the labels before had
            file.unlink(missing_ok=True)
    return [labels, *(labels.with_name(file.name) for file in written if file.name != labels.name)], answer.doubts


def networks_digest(networks: Path) -> str:
    """Return a digest of all that the labels depend on in the folder of a run.

    Raises:
        InputError: a stage is missing.
    """
    from ltvs.model.saved import load_stage, stage_folder
    from ltvs.model.shipping import WRITTEN as OF_A_STAGE
    from ltvs.model.stages import STAGES

    files = [stage_folder(networks, stage) / name for stage in STAGES for name in OF_A_STAGE]
    if not all(file.is_file() for file in files):
        for stage in STAGES:
            load_stage(networks, stage)  # which says what is missing
    return content_digest(files)


def make_job(findings: Findings, output: Path, asked: Asked, *, overwrite: bool) -> Job:
    """Return the job of labeling all CTs into a folder, which is only looked at.

    Raises:
        InputError: files that are there are not to be replaced, or the folder cannot be written to.
    """
    check_new_files([output / CASES, output / RECORDS / "record.json"], overwrite=True)
    cts = with_names_of_before(findings.cts, output)
    records = {ct.name: Record.read(output / RECORDS / ct.name) for ct in cts}
    before = {name: (record.attempt, record.outcome) for name, record in records.items() if record is not None}
    job = Job(tuple(cts), output, asked, networks_digest(asked.networks), overwrite, before, start_labeler)
    if not overwrite:
        if not (output / RECORDS).is_dir():
            check_new_files([output / name for name in WRITTEN], overwrite=False)
        # Read again, since another process may have written files after the first look, and their record with them.
        reasons = {
            ct.name: why
            for ct in job.cts
            if job.other_files(ct, records[ct.name])
            and (why := job.other_files(ct, Record.read(output / RECORDS / ct.name)))
        }
        if reasons:
            first, why = next(iter(reasons.items()))
            others = f", and {len(reasons) - 1} more" if len(reasons) > 1 else ""
            raise InputError(
                f"{output}: {first}: {why}{others}; give another --output, or --overwrite to replace what is there"
            )
    return job


def label_all(job: Job, place: Place, display: Display) -> list[Row]:
    """Label all CTs of a job with the processes here and those elsewhere; return what became of each.

    Raises:
        InputError: no process can work, or the tables cannot be written.
    """
    display.begin([ct.name for ct in job.cts])
    try:
        share_out(job, place.devices, display.hear, place.first, place.count)
    finally:
        _tidy(job)
    rows = {row.name: row for row in read_rows(job.output)}
    for ct in job.cts:
        rows.setdefault(ct.name, Row(ct.name, ct.shown, "failed", _UNSETTLED, {}, (), 0.0))
    in_order = [rows[name] for name in sorted(rows)]
    if place.rank == 0:
        write_tables(in_order, job.output)
    names = {ct.name for ct in job.cts}
    return [row for row in in_order if row.name in names]


def _tidy(job: Job) -> None:
    """Remove what processes that were ended have left behind, unless others are at work there."""
    for ct in job.cts:
        folder = job.folder(ct)
        if folder.is_dir() and any(folder.glob(f"{TEMPORARY}*")):
            with suppress(BusyError), locked(folder):
                remove_leftovers(folder)


def files_of(labels: Path, asked: Asked) -> Sequence[Path]:
    """Return the files that may be written for one CT, the labels first."""
    return [labels, *(beside(labels, ending) for ending in asked.endings())]
