"""The report of --check: load and check every case of a source, and write nothing."""

from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import get_args

from rich.console import Console
from rich.table import Table
from rich.text import Text
from tqdm import tqdm

from ltvs.dataset.checks import Facts, Finding, Level, Report, examine, repeated
from ltvs.model.stage_view import Preparation
from ltvs.runtime.errors import printable
from ltvs.runtime.workers import Failure, work_through
from ltvs.sources import Entry, Source
from ltvs.volume.labels import STRUCTURES

#: Together narrow enough for a terminal of 80 characters.
_COLUMNS = ("\nvoxels", "pixel, slice\nmm", "\nHU", "liver\nml", "tumor\nml", "vessel\nml")


def check_set(source: Source, preparation: Preparation, workers: int, *, force: bool = False) -> dict[str, Report]:
    """Load and check every case, in parallel, with a progress bar; return the reports by name.

    Args:
        source: the cases.
        preparation: of each case.
        workers: number of cases checked at a time.
        force: whether values that are not HU are a warning, not an error.
    """
    tasks = {name: partial(_check, entry, preparation, force) for name, entry in source.items()}
    found = {}
    with closing(work_through(tasks, max(1, min(workers, len(tasks))))) as results:
        for name, result in tqdm(results, total=len(tasks), desc="checking", unit="case"):
            found[name] = Report(None, (Finding("error", result.reason),)) if isinstance(result, Failure) else result
    reports = {name: found[name] for name in sorted(found)}
    cts = {name: report.facts.ct for name, report in reports.items() if report.facts}
    for name, findings in repeated(cts, {name: source[name].patient for name in cts}).items():
        reports[name] = replace(reports[name], findings=(*reports[name].findings, *findings))
    return reports


def print_reports(reports: Mapping[str, Report]) -> None:
    """Print a table with a row for each case, then a line for each finding, then the number of good cases."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("\ncase", overflow="fold")
    for column in _COLUMNS:
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for name, report in reports.items():
        table.add_row(Text(name), *_cells(report.facts), _verdict(report))
    Console().print(table)
    for level in get_args(Level):
        for text in (text for report in reports.values() for text in report.texts(level)):
            print(printable(f"{level}: {text}"))
    verdicts = [_verdict(report) for report in reports.values()]
    good, odd, bad = (verdicts.count(verdict) for verdict in ("good", "warning", "error"))
    print(f"checked {len(reports)}: {good} good, {odd} with warnings, {bad} with errors; nothing was written")


def _check(entry: Entry, preparation: Preparation, force: bool) -> Report:
    return examine(entry.load(), preparation, force=force)


def _verdict(report: Report) -> str:
    if report.texts("error"):
        return "error"
    return "warning" if report.texts("warning") else "good"


def _cells(facts: Facts | None) -> list[str]:
    if facts is None:
        return ["-"] * len(_COLUMNS)
    x, _, z = facts.spacing
    low, high = facts.hu
    volumes = [f"{facts.ml[name]:.0f}" if name in facts.ml else "-" for name in STRUCTURES]
    return ["x".join(str(n) for n in facts.size), f"{x:.3g}, {z:.3g}", f"{low}..{high}", *volumes]
