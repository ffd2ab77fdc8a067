"""Hints to install something: the package is not on PyPI, and the extras they name exist."""

import re
import tomllib

import pytest

from support.pages import NOTEBOOKS, PAGES, ROOT, text_of

EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
SOURCES = sorted(path for folder in ("src", "examples", "benchmarks") for path in (ROOT / folder).rglob("*.py"))


def extras_in(text: str) -> set[str]:
    return {extra for names in re.findall(r"pip install .*?\.\[([\w,]+)\]", text) for extra in names.split(",")}


def test_the_hints_are_found() -> None:
    assert extras_in('pip install ".[a,b]" fire, or pip install --quiet ".[c]"') == {"a", "b", "c"}
    assert {"hub", "ltvs", "nnunet", "onnx"} <= set().union(*(extras_in(path.read_text()) for path in PAGES))


@pytest.mark.parametrize("path", [*PAGES, *NOTEBOOKS, *SOURCES], ids=lambda path: str(path.relative_to(ROOT)))
def test_hints_work_from_a_clone(path) -> None:
    text = text_of(path)
    assert "crossattn3d[" not in text
    assert not re.search(r"pip install\s+[\"']?crossattn3d", text)
    assert extras_in(text) <= set(EXTRAS)
