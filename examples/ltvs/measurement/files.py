"""Measurements of cases in files: JSON for programs, CSV for spreadsheets."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from ltvs.measurement.measuring import Measurements
from ltvs.measurement.tumors import Tumor
from ltvs.runtime.files import write_json
from ltvs.runtime.spreadsheets import Cell, write_rows

_CASE = ("liver_ml", "vessels_ml", "tumors_ml")
_CENTER = "center_mm"


@dataclass(frozen=True)
class Measured:
    """A case with its measurements.

    Args:
        measurements: the measurements of its labels.
        doubts: the reasons to distrust the labels, one sentence each.
    """

    measurements: Measurements
    doubts: tuple[str, ...] = ()

    def json(self) -> dict[str, Any]:
        """Return the case for JSON."""
        return {**self.measurements.json(), "doubts": list(self.doubts)}


def write_measurements(cases: Mapping[str, Measured], json_file: Path, csv_file: Path) -> None:
    """Write the measurements of one case or many, each file atomically.

    JSON holds an object for each case under its name. CSV has a row for each tumor, which repeats the columns of its
    case. A case without tumors has one row, blank in the columns of the tumor.

    Args:
        cases: the cases by their names.
        json_file: the JSON file to write.
        csv_file: the CSV file to write.

    Raises:
        InputError: a file cannot be written.
    """
    write_json(json_file, {name: case.json() for name, case in cases.items()})
    rows = [row for name, case in cases.items() for row in _rows(name, case)]
    write_rows(csv_file, [["case", *_CASE, "tumor_count", *_tumor_columns(), "doubts"], *rows])


def _tumor_columns() -> list[str]:
    """Return the columns of a tumor: its fields, `number` as `tumor`, the center as three."""
    columns = []
    for field in fields(Tumor):
        axes = [f"center_{axis}_mm" for axis in "xyz"]
        columns += axes if field.name == _CENTER else ["tumor" if field.name == "number" else field.name]
    return columns


def _rows(name: str, case: Measured) -> Iterator[list[Cell]]:
    """Yield the rows of a case."""
    content = case.json()
    of_case = [name, *(content[key] for key in _CASE), len(content["tumors"])]
    doubts = " ".join(case.doubts)
    if not content["tumors"]:
        yield [*of_case, *(None for _ in _tumor_columns()), doubts]
    for tumor in content["tumors"]:
        cells = [cell for key, value in tumor.items() for cell in (value if key == _CENTER else [value])]
        yield [*of_case, *cells, doubts]
