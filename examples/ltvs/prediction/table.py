"""The result for each CT: a table to read, and files for all cases of a folder."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ltvs.prediction.asked import ALWAYS
from ltvs.prediction.record import DONE, RECORDS, Outcome, Record
from ltvs.runtime.errors import InputError, printable
from ltvs.runtime.files import read_json, write_json
from ltvs.runtime.spreadsheets import join_tables, write_rows

CASES = "cases.csv"
#: Measurements of all cases, written as those of each.
ALL_MEASUREMENTS = ("measurements.json", "measurements.csv")
WRITTEN = (CASES, *ALL_MEASUREMENTS)

_COLUMNS = ("name", "input", "outcome", "reason", "liver_ml", "vessel_ml", "tumor_ml", "tumors", "doubts", "seconds")


@dataclass(frozen=True)
class Row:
    """What became of a CT.

    Args:
        name: of the case.
        shown: the input, as it is told to the user.
        outcome: of the last attempt.
        reason: of a failure, in one line.
        numbers: ml of `liver`, `vessel` and `tumor`, and the number of `tumors`; empty without labels.
        doubts: signs of distrust.
        seconds: that it took.
    """

    name: str
    shown: str
    outcome: Outcome
    reason: str
    numbers: Mapping[str, float]
    doubts: tuple[str, ...]
    seconds: float

    @property
    def has_labels(self) -> bool:
        """Return whether labels were written, now or before."""
        return self.outcome in DONE

    def cells(self) -> list[str]:
        """Return the cells of `cases.csv`."""
        volumes = [f"{self.numbers[name]:.1f}" if self.numbers else "" for name in ("liver", "vessel", "tumor")]
        tumors = f"{self.numbers['tumors']:.0f}" if self.numbers else ""
        words = (printable(text) for text in (self.name, self.shown, self.outcome, self.reason))
        return [*words, *volumes, tumors, " ".join(self.doubts), f"{self.seconds:.1f}"]


def read_rows(output: Path) -> list[Row]:
    """Return a row for every case on record in a folder whose labels were not removed, in the order of their names."""
    rows = []
    for folder in sorted((output / RECORDS).iterdir()):
        record = Record.read(folder)
        if record is None or record.outcome == "begun":
            continue
        if record.outcome in DONE and not (output / f"{folder.name}.nii.gz").exists():
            continue
        made = record.made if record.outcome in DONE else None
        numbers, doubts = (made.numbers, made.doubts) if made else ({}, ())
        rows.append(Row(folder.name, record.shown, record.outcome, record.reason, numbers, doubts, record.seconds))
    return rows


def write_tables(rows: list[Row], output: Path) -> None:
    """Write what became of all cases of a folder, and the measurements of all that have labels.

    Raises:
        InputError: a file cannot be written, or one of a case cannot be read.
    """
    write_rows(output / CASES, [_COLUMNS, *(row.cells() for row in rows)])
    as_json, as_csv = (
        [file for row in rows if row.has_labels and (file := output / (row.name + ending)).exists()]
        for ending in ALWAYS[1:]
    )
    all_json, all_csv = (output / name for name in ALL_MEASUREMENTS)
    try:
        if as_json:
            write_json(all_json, {name: case for file in as_json for name, case in read_json(file).items()})
        if as_csv:
            join_tables(as_csv, all_csv)
    except InputError as error:
        raise InputError(f"{error}; remove it, and give the same command again") from error
    # Those of cases that have no labels any more would look right.
    if not as_json:
        all_json.unlink(missing_ok=True)
    if not as_csv:
        all_csv.unlink(missing_ok=True)


def print_table(rows: list[Row]) -> None:
    """Print what became of each case; then the reasons, and the signs of distrust."""
    outcomes = [row.outcome.removesuffix(" from before") for row in rows]
    columns = {"CT": [row.name for row in rows], "": outcomes}
    cells = [row.cells() for row in rows]
    columns |= {f"{name} ml": [one[4 + k] for one in cells] for k, name in enumerate(("liver", "vessel", "tumor"))}
    columns |= {"tumors": [one[7] for one in cells], "doubts": [str(len(row.doubts) or "") for row in rows]}
    columns |= {"s": [f"{row.seconds:.0f}" for row in rows]}
    table = Table(box=None, pad_edge=False)
    for name in columns:
        is_text = name in ("CT", "")
        table.add_column(name, justify="left" if is_text else "right", overflow="fold", no_wrap=not is_text)
    for line in zip(*columns.values(), strict=True):
        table.add_row(*(Text(printable(cell)) for cell in line))
    # In a file or a pipe, nothing has to fit a screen.
    Console(highlight=False, width=None if sys.stdout.isatty() else 200).print(table)
    for row in rows:
        if row.doubts:
            print(printable(f"doubt: {row.name}: {' '.join(row.doubts)}"))
        if row.reason:
            kind = "note" if row.has_labels else "no labels"
            place = "" if row.has_labels or row.shown in row.reason else f" {row.shown}:"
            print(
                printable(f"{kind}: {row.name}:{place} {row.reason}"), file=sys.stdout if row.has_labels else sys.stderr
            )
    sys.stdout.flush()
