"""What became of each case, on the screen and in files."""

import csv
import json
from pathlib import Path

import pytest

from ltvs.prediction.record import RECORDS, Record
from ltvs.prediction.sharing import Loop
from ltvs.prediction.table import print_table, read_rows, write_tables
from ltvs.runtime.errors import InputError
from support.stand_in_labeler import job, write_cts


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """Four cases, one of each kind."""
    write_cts(tmp_path / "in", a="some", b="bad", c="none", d="more")
    Loop(job(tmp_path / "in", tmp_path / "out"), "cpu", lambda *_: None).run()
    Record("x", "begun", "e").write(tmp_path / "out" / RECORDS / "e")
    return tmp_path / "out"


def test_files_of_all_cases(output: Path) -> None:
    write_tables(read_rows(output), output)
    with (output / "cases.csv").open(newline="") as file:
        rows = {row["name"]: row for row in csv.DictReader(file)}
    assert {name: row["outcome"] for name, row in rows.items()} == {
        "a": "labeled", "b": "failed", "c": "no liver", "d": "labeled",
    }  # fmt: skip
    assert rows["a"] | {"seconds": "", "input": ""} == {
        "name": "a", "input": "", "outcome": "labeled", "reason": "", "liver_ml": "1500.0", "vessel_ml": "40.0",
        "tumor_ml": "2.5", "tumors": "1", "doubts": "Look at it.", "seconds": "",
    }  # fmt: skip
    assert rows["b"]["reason"] == "is bad"
    assert rows["c"]["liver_ml"] == ""
    assert json.loads((output / "measurements.json").read_text()) == {name: {"liver_ml": 1500} for name in "ad"}
    assert (output / "measurements.csv").read_text().split() == ["case,liver_ml", "a,1500", "d,1500"]


def test_the_table(output: Path, capsys: pytest.CaptureFixture) -> None:
    print_table(read_rows(output))
    said = capsys.readouterr()
    lines = [line.split() for line in said.out.splitlines()]
    assert lines[1][:-1] == ["a", "labeled", "1500.0", "40.0", "2.5", "1", "1"]
    assert lines[2][:2] == ["b", "failed"]
    assert "doubt: a: Look at it." in said.out
    folder = output.parent / "in"
    assert said.err.splitlines() == [
        f"no labels: b: {folder / 'b.nii'}: is bad",
        f"no labels: c: {folder / 'c.nii'}: finds no liver",
    ]


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.measurements.csv", b"\xff", "cannot be read"),
        ("d.measurements.csv", b"liver_ml,case\n1500,d\n", "expected the columns of .*a.measurements.csv; got others"),
        ("a.measurements.json", b"\xff", "is not valid JSON"),
    ],
)
def test_measurements_that_cannot_be_read(output: Path, name: str, content: bytes, reason: str) -> None:
    (output / name).write_bytes(content)
    with pytest.raises(InputError, match=rf"{name}: {reason}.*; remove it, and give the same command again"):
        write_tables(read_rows(output), output)


def test_measurements_of_all_are_those_of_each(output: Path) -> None:
    negative = "case,center_x_mm\r\n007,-58.7\r\n"
    for name in "ad":
        (output / f"{name}.measurements.csv").write_bytes(negative.encode())
    write_tables(read_rows(output), output)
    assert (output / "measurements.csv").read_bytes().decode() == f"{negative}007,-58.7\r\n"


def test_measurements_of_labels_that_are_gone_are_removed(output: Path) -> None:
    write_tables(read_rows(output), output)
    (output / "a.measurements.json").unlink()
    (output / "d.nii.gz").unlink()
    write_tables(read_rows(output), output)
    assert not (output / "measurements.json").exists()
    assert (output / "measurements.csv").read_text().split() == ["case,liver_ml", "a,1500"]
    (output / "a.nii.gz").unlink()
    write_tables(read_rows(output), output)
    assert not (output / "measurements.csv").exists()


def test_a_case_whose_labels_were_removed_is_none_any_more(output: Path) -> None:
    (output / "a.nii.gz").unlink()
    assert [row.name for row in read_rows(output)] == ["b", "c", "d"]
