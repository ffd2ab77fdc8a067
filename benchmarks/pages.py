"""The part of a page of the docs that a measurement writes: the text between two marks, and the tables in it."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

END = "<!-- end -->\n"


def begin(maker: str) -> str:
    """Return the mark at which the text of `maker`, a module, begins."""
    return f"<!-- made by {maker} -->\n"


def parts(page: str, maker: str) -> tuple[str, str, str]:
    """Split a page into the text before the mark of `maker`, the text between it and the next end, and the rest.

    Raises:
        ValueError: the page does not have exactly one such mark, or no end after it.

    Example:
        >>> parts("a\\n<!-- made by m -->\\nb\\n<!-- end -->\\nc\\n", "m")
        ('a\\n', 'b\\n', 'c\\n')
    """
    first = begin(maker)
    pieces = page.split(first)
    if len(pieces) != 2:
        raise ValueError(
            f"pages.parts: expected one line {first.strip()} in the page; got {len(pieces) - 1}; "
            "put it where the results belong"
        )
    text, end, after = pieces[1].partition(END)
    if not end:
        raise ValueError(
            f"pages.parts: expected a line {END.strip()} after {first.strip()} in the page; got none; "
            "put it where the results end"
        )
    return pieces[0], text, after


def replaced(page: str, maker: str, text: str) -> str:
    """Return the page with `text` between the marks of `maker`.

    Raises:
        ValueError: as for `parts`.
    """
    before, _, after = parts(page, maker)
    return f"{before}{begin(maker)}{text}{END}{after}"


def take_no_options(maker: str, description: str | None) -> None:
    """Answer --help, and refuse any other word, before a command without options writes.

    Args:
        maker: its module.
        description: what it writes.
    """
    argparse.ArgumentParser(prog=f"python -m {maker}", description=description).parse_args()


def write(page: Path, maker: str, text: str) -> None:
    """Put `text` between the marks of `maker` in a file.

    Raises:
        ValueError: as for `parts`.
    """
    page.write_text(replaced(page.read_text(encoding="utf-8"), maker, text), encoding="utf-8")


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], words: int = 1) -> str:
    """Return a Markdown table whose first columns, `words` of them, are text and whose others are figures.

    Example:
        >>> print(table(["net", "Dice"], [["a", "61.0"]]), end="")
        | net | Dice |
        | --- | --: |
        | a | 61.0 |
    """
    lines = [heads, ["---"] * words + ["--:"] * (len(heads) - words), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def table_of(rows: Sequence[Mapping[str, str]], words: int = 1) -> str:
    """Return the table of rows whose cells are named by the column; empty if there are no rows."""
    return table(list(rows[0]), [list(row.values()) for row in rows], words) if rows else ""
