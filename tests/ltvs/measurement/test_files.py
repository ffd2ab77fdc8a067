"""Files of measurements."""

import csv
import json
from pathlib import Path

import pytest

from ltvs.measurement import Measured, Measurements, Tumor, write_measurements
from ltvs.runtime.errors import InputError

BESIDE = Tumor(1, 1 / 3, 12.345678, 8.05 + 0.01, (-10.04, 20.26, 300.0), 0.0, 2 / 3, 0.123456)
ALONE = Tumor(2, 0.0002, 1.0, 0.7, (1.0, 2.0, 3.0), None, 4.0, None)
CASES = {
    "one": Measured(Measurements(1500.12345, 40.0, 0.3335333, (BESIDE, ALONE)), ("First.", "Second.")),
    "none": Measured(Measurements(1400.0, 0.0, 0.0, ())),
}
HEADER = [
    "case", "liver_ml", "vessels_ml", "tumors_ml", "tumor_count", "tumor", "volume_ml", "longest_axial_diameter_mm",
    "perpendicular_diameter_mm", "center_x_mm", "center_y_mm", "center_z_mm", "distance_to_vessel_mm",
    "distance_to_liver_surface_mm", "share_of_surface_near_vessel", "doubts",
]  # fmt: skip


def write(folder: Path, cases: dict[str, Measured]) -> tuple[str, list[list[str]]]:
    """Write cases, and return the text of the JSON and the rows of the CSV."""
    files = folder / "new" / "m.json", folder / "new" / "m.csv"
    write_measurements(cases, *files)
    with files[1].open(newline="", encoding="utf-8-sig") as file:
        return files[0].read_text(encoding="utf-8"), list(csv.reader(file))


def test_files(tmp_path: Path) -> None:
    text, rows = write(tmp_path, CASES)
    content = json.loads(text)
    assert list(content) == ["one", "none"]
    assert content["none"] == {"liver_ml": 1400.0, "vessels_ml": 0.0, "tumors_ml": 0.0, "tumors": [], "doubts": []}
    assert content["one"]["doubts"] == ["First.", "Second."]
    assert content["one"]["tumors"][0] == {
        "number": 1,
        "volume_ml": 0.333,
        "longest_axial_diameter_mm": 12.3,
        "perpendicular_diameter_mm": 8.1,
        "center_mm": [-10.0, 20.3, 300.0],
        "distance_to_vessel_mm": 0.0,
        "distance_to_liver_surface_mm": 0.7,
        "share_of_surface_near_vessel": 0.123,
    }
    of_one = ["one", "1500.123", "40.0", "0.334", "2"]
    assert rows == [
        HEADER,
        [*of_one, "1", "0.333", "12.3", "8.1", "-10.0", "20.3", "300.0", "0.0", "0.7", "0.123", "First. Second."],
        [*of_one, "2", "0.0", "1.0", "0.7", "1.0", "2.0", "3.0", "", "4.0", "", "First. Second."],
        ["none", "1400.0", "0.0", "0.0", "0", *[""] * 10, ""],
    ]


def test_no_case(tmp_path: Path) -> None:
    text, rows = write(tmp_path, {})
    assert (json.loads(text), rows) == ({}, [HEADER])


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@sum", " =1"])
def test_names_are_no_formulas(tmp_path: Path, name: str) -> None:
    text, rows = write(tmp_path, {name: CASES["none"]})
    assert rows[1][0] == f"'{name}"
    assert list(json.loads(text)) == [name]


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "new").write_text("in the way")
    with pytest.raises(InputError, match="cannot be written"):
        write(tmp_path, CASES)
