"""README, the pages in docs, and the code blocks in them."""

import re
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

#: Pages whose Python takes longer than ten seconds.
SLOW = {ROOT / "docs" / "export.md"}


def blocks(language: str) -> list:
    """Return every fenced block in a language as a test parameter, named after its page and number."""
    found = []
    for page in PAGES:
        fence = re.compile(rf"^( *)```{language}\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
        texts = [textwrap.dedent(text) for _, text in fence.findall(page.read_text(encoding="utf-8"))]
        marks = [pytest.mark.slow] if page in SLOW else []
        found += [pytest.param(text, id=f"{page.relative_to(ROOT)}-{i}", marks=marks) for i, text in enumerate(texts)]
    return found
