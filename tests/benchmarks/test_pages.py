"""What measurements write into a page is replaced, what is around it stays."""

from pathlib import Path

import pytest

from benchmarks.pages import END, begin, parts, replaced, write

PAGE = f"# Ä\n{begin('one')}1\n{END}between\n{begin('two')}2\n2\n{END}after\n"


def test_only_what_is_between_the_marks_changes(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    path.write_text(PAGE, encoding="utf-8")
    write(path, "one", "new\nlines\n")
    assert path.read_text(encoding="utf-8") == PAGE.replace("1\n", "new\nlines\n")
    assert replaced(PAGE, "two", parts(PAGE, "two")[1]) == PAGE


@pytest.mark.parametrize(
    ("page", "message"),
    [
        ("", r"pages\.parts: expected one line <!-- made by one --> in the page; got 0; put it where the results"),
        (2 * PAGE, "expected one line <!-- made by one --> in the page; got 2"),
        (
            f"{END}{begin('one')}1\n",
            "expected a line <!-- end --> after <!-- made by one --> in the page; got none; put it where",
        ),
    ],
)
def test_marks_that_are_missing(page: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replaced(page, "one", "text\n")
