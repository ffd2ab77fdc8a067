"""Docstrings list the arguments that are there, each on a row of its own, as the reference pages show them."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.pages import ROOT

griffe = pytest.importorskip("griffe", reason="griffe is not installed: pip install '.[docs]'")

#: Where packages and commands lie.
PLACES = {"src": ["crossattn3d"], "examples": ["ltvs", *sorted(p.stem for p in (ROOT / "examples").glob("*.py"))]}
#: Triton reads its functions without annotations.
WITHOUT_TYPES = "crossattn3d.kernels.triton.kernels"


def objects(place: Path, name: str) -> Iterator["griffe.Object"]:
    """Yield all modules, classes and functions of a package that have a docstring."""
    extensions = griffe.load_extensions(griffe.UnpackTypedDictExtension)
    waiting = [griffe.load(name, search_paths=[place], extensions=extensions)]
    while waiting:
        found = waiting.pop()
        waiting += [member for member in found.members.values() if not member.is_alias]
        if found.docstring:
            yield found


def faults(place: Path, name: str) -> list[str]:
    """Return what griffe warns of, and the attributes listed that a class has not."""
    said: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("griffe")
    logger.addHandler(handler)
    try:
        for found in objects(place, name):
            typed = not found.canonical_path.startswith(WITHOUT_TYPES)
            for section in found.docstring.parse("google", warn_missing_types=typed):
                if section.kind.value == "attributes":
                    said += [f"{found.path}: {a.name}" for a in section.value if a.name not in found.all_members]
    finally:
        logger.removeHandler(handler)
    return said


@pytest.mark.parametrize(("place", "name"), [(place, name) for place, names in PLACES.items() for name in names])
def test_what_docstrings_list_is_there(place: str, name: str) -> None:
    assert not faults(ROOT / place, name)


ROWS = '''
from typing import NamedTuple

class Pair(NamedTuple):
    """A pair.

    Attributes:
        {attribute}: the first.
    """

    a: int
    b: int

def f(a: int, b: int) -> None:
    """Do.

    Args:
        {argument}: the first.
    """
'''


@pytest.mark.parametrize(
    ("attribute", "argument", "said"),
    [
        ("a", "a", []),
        ("a, b", "a", ["Pair: a,"]),
        ("c", "a", ["Pair: c"]),
        ("a", "c", ["No type or annotation for parameter 'c'", "'c' does not appear in the function signature"]),
        ("a", "a, b", ["No type or annotation for parameter 'a, b'", "'a, b' does not appear"]),
    ],
)
def test_other_rows_are_found(tmp_path: Path, attribute: str, argument: str, said: list[str]) -> None:
    (tmp_path / "module.py").write_text(ROWS.format(attribute=attribute, argument=argument), encoding="utf-8")
    found = faults(tmp_path, "module")
    assert len(found) == len(said), found
    assert all(part in fault for part, fault in zip(said, found, strict=True))
