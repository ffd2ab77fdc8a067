"""Tables as CSV files."""

import csv
from pathlib import Path

import pytest

from ltvs.runtime.errors import InputError
from ltvs.runtime.spreadsheets import Cell, write_rows


def test_cells(tmp_path: Path) -> None:
    rows: list[list[Cell]] = [["case", "a, b", "n"], ["x", None, -1], ['a "b"', 0.5, 2]]
    write_rows(tmp_path / "new" / "t.csv", rows)
    assert (tmp_path / "new" / "t.csv").read_bytes() == b'case,"a, b",n\r\nx,,-1\r\n"a ""b""",0.5,2\r\n'


@pytest.mark.parametrize("name", ["=HYPERLINK(1)", "+1", "-1", "@sum", "  =1"])
def test_text_is_no_formula(tmp_path: Path, name: str) -> None:
    write_rows(tmp_path / "t.csv", [[name, -1]])
    assert (tmp_path / "t.csv").read_text().strip() == f"'{name},-1"


@pytest.mark.parametrize(("name", "shown"), [("\t=1", "\\t=1"), ("a\r\nb", "a\\r\\nb"), ("\udcff", "\\udcff")])
def test_control_characters_are_shown(tmp_path: Path, name: str, shown: str) -> None:
    """As names of files may hold them; the last one cannot be written in UTF-8."""
    write_rows(tmp_path / "t.csv", [[name]])
    with (tmp_path / "t.csv").open(newline="", encoding="utf-8") as file:
        assert list(csv.reader(file)) == [[shown]]


def test_excel_is_told_of_utf8(tmp_path: Path) -> None:
    write_rows(tmp_path / "t.csv", [["Jörg"]])
    assert (tmp_path / "t.csv").read_bytes() == b"\xef\xbb\xbfJ\xc3\xb6rg\r\n"


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="cannot be written"):
        write_rows(tmp_path / "file" / "t.csv", [["a"]])
    assert (tmp_path / "file").read_text() == "in the way"
