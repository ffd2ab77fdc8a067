"""Tables as CSV files that spreadsheets open as they are meant."""

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

from ltvs.runtime.errors import InputError, printable
from ltvs.runtime.files import atomic_path

Cell = str | int | float | None

#: First characters of what spreadsheets take for a formula, which can run programs and fetch pages.
_FORMULA = ("=", "+", "-", "@")


def write_rows(path: Path, rows: Iterable[Sequence[Cell]]) -> None:
    """Write rows as CSV in UTF-8, atomically; a cell that is None is blank.

    Names of cases come from files of others: text that starts like a formula gets an apostrophe before it, by which
    spreadsheets know text. With characters beyond ASCII, a byte-order mark comes first, by which Excel knows UTF-8.

    Args:
        path: to write; its parent is created.
        rows: the header first.

    Raises:
        InputError: the file cannot be written.
    """
    text = io.StringIO(newline="")
    csv.writer(text).writerows([_text(cell) if isinstance(cell, str) else cell for cell in row] for row in rows)
    _write(path, text.getvalue())


def join_tables(parts: Sequence[Path], path: Path) -> None:
    """Write the rows of several tables with the same header, as they are, into one.

    Args:
        parts: tables that `write_rows` wrote, at least one.
        path: to write; its parent is created.

    Raises:
        InputError: a table cannot be read, or has another header; or the file cannot be written.
    """
    header, bodies = "", []
    for part in parts:
        try:
            first, _, body = part.read_bytes().decode("utf-8-sig").partition("\n")
        except (OSError, ValueError) as error:
            raise InputError(f"{part}: cannot be read ({error})") from error
        if first != (header := header or first):
            raise InputError(f"{part}: expected the columns of {parts[0]}; got others")
        bodies.append(body)
    _write(path, f"{header}\n{''.join(bodies)}")


def _write(path: Path, content: str) -> None:
    with atomic_path(path) as temporary:
        temporary.write_bytes(content.encode("utf-8" if content.isascii() else "utf-8-sig"))


def _text(cell: str) -> str:
    """Return text that is no formula and has no control characters.

    Example:
        >>> _text("=1+1"), _text("case 7")
        ("'=1+1", 'case 7')
    """
    cell = printable(cell)
    return f"'{cell}" if cell.lstrip().startswith(_FORMULA) else cell
