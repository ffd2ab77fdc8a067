"""What no tool warns of: fences left open, rows with too few or too many cells, styles not there, large pictures."""

import re
from pathlib import Path

import pytest

from support.pages import ALL_PAGES, ROOT, text_of


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def faults(text: str) -> list[str]:
    """Return the rows of tables whose cells are not as many as those of the row above, and the fence left open."""
    found, cells, fence = [], 0, ""
    for line in text.splitlines():
        if line.strip().startswith("```"):
            fence = "" if fence else line
        here = len(re.findall(r"(?<!\\)\|", re.sub(r"`[^`]*`", "", line))) if line.startswith("|") and not fence else 0
        if cells and here and here != cells:
            found.append(line)
        cells = here
    return found + [fence] * bool(fence)


@pytest.mark.parametrize("page", ALL_PAGES, ids=named)
def test_tables_and_fences_are_whole(page: Path) -> None:
    assert not faults(text_of(page))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("| a | b |\n|---|---|\n| `x|y` | z \\| |\n", []),
        ("| a | b |\n|---|---|\n| c d |\n", ["| c d |"]),
        ("```sh\n| a |\n| b | c |\n```\n", []),
        ("```sh\nmake demo\n", ["```sh"]),
    ],
)
def test_what_is_broken_is_found(text: str, found: list[str]) -> None:
    assert faults(text) == found


def test_styles_of_the_site_are_there() -> None:
    (listed,) = re.findall(r"^extra_css: \[(.+)\]$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE)
    assert all((ROOT / "docs" / name.strip()).is_file() for name in listed.split(","))


@pytest.mark.parametrize("picture", sorted((ROOT / "docs" / "images").iterdir()), ids=named)
def test_no_picture_is_large(picture: Path) -> None:
    assert picture.stat().st_size <= 2**20, "a page has to open on a phone, and every clone carries all its versions"


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 120
