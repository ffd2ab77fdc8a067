"""README, the pages in docs, and the code blocks in them."""

import json
import re
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
NOTEBOOKS = sorted((ROOT / "docs").rglob("*.ipynb"))
#: All of them, and what contributors and those who open the folders read.
ALL_PAGES = [
    *PAGES,
    *NOTEBOOKS,
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "examples").rglob("*.md")),
]

_FENCED = re.compile(r"^( *)```.*?\n(.*?)^\1```", re.MULTILINE | re.DOTALL)

#: Pages whose Python takes longer than ten seconds.
SLOW = {ROOT / "docs" / "ship" / "export.md", ROOT / "docs" / "label" / "cts.md"}


def text_of(page: Path) -> str:
    """Return a page as Markdown: of a notebook its cells, without outputs."""
    text = page.read_text(encoding="utf-8")
    if page.suffix != ".ipynb":
        return text
    cells = [(cell["cell_type"], "".join(cell["source"])) for cell in json.loads(text)["cells"]]
    return "\n\n".join(f"```python\n{source}\n```" if kind == "code" else source for kind, source in cells)


def blocks(language: str) -> list:
    """Return every fenced block in a language as a test parameter, named after its page and number."""
    found = []
    for page in PAGES:
        fence = re.compile(rf"^( *)```{language}\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
        texts = [textwrap.dedent(text) for _, text in fence.findall(page.read_text(encoding="utf-8"))]
        marks = [pytest.mark.slow] if page in SLOW else []
        found += [pytest.param(text, id=f"{page.relative_to(ROOT)}-{i}", marks=marks) for i, text in enumerate(texts)]
    return found


def inline_code(page: Path) -> list[str]:
    """Return what stands in single backticks on a page, each in one line."""
    text = _FENCED.sub("", text_of(page))
    return [" ".join(code.split()) for code in re.findall(r"(?<!`)`([^`]+)`(?!`)", text)]


def code_lines(page: Path) -> list[str]:
    """Return the lines of the fenced blocks on a page, those that go on in the next joined."""
    blocks_of_page = [textwrap.dedent(text) for _, text in _FENCED.findall(text_of(page))]
    return [line.strip() for text in blocks_of_page for line in text.replace("\\\n", " ").splitlines()]
