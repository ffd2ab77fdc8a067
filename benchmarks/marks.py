"""The part of a page of the docs that a measurement writes: what is between two marks, and tables in it."""

from collections.abc import Sequence
from pathlib import Path

END = "<!-- end -->\n"


def begin(maker: str) -> str:
    """The first mark of what `maker`, a module, writes."""
    return f"<!-- made by {maker} -->\n"


def parts(page: str, maker: str) -> tuple[str, str, str]:
    """What is before the first mark, between it and the next end, and after that.

    Raises:
        ValueError: the page has not exactly one first mark, or no end after it.

    Example:
        >>> parts("a\\n<!-- made by m -->\\nb\\n<!-- end -->\\nc\\n", "m")
        ('a\\n', 'b\\n', 'c\\n')
    """
    first = begin(maker)
    pieces = page.split(first)
    if len(pieces) != 2:
        raise ValueError(
            f"marks.parts: expected one line {first.strip()} in the page; got {len(pieces) - 1}; "
            "put it where the results belong"
        )
    text, end, after = pieces[1].partition(END)
    if not end:
        raise ValueError(
            f"marks.parts: expected a line {END.strip()} after {first.strip()} in the page; got none; "
            "put it where the results end"
        )
    return pieces[0], text, after


def replaced(page: str, maker: str, text: str) -> str:
    """The page with `text` between the marks of `maker`.

    Raises:
        ValueError: as `parts`.
    """
    before, _, after = parts(page, maker)
    return f"{before}{begin(maker)}{text}{END}{after}"


def write(page: Path, maker: str, text: str) -> None:
    """Put `text` between the marks of `maker` in a file.

    Raises:
        ValueError: as `parts`.
    """
    page.write_text(replaced(page.read_text(encoding="utf-8"), maker, text), encoding="utf-8")


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Markdown of a table whose first column is text and whose others are figures.

    Example:
        >>> print(table(["net", "Dice"], [["a", "61.0"]]), end="")
        | net | Dice |
        | --- | --: |
        | a | 61.0 |
    """
    lines = [heads, ["---"] + ["--:"] * (len(heads) - 1), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"
