"""Names of cases: files on any system, apart from each other, whatever the order."""

import unicodedata
from pathlib import PurePosixPath, PureWindowsPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ltvs.prediction.names import LONGEST, safe_name, short_digest, tell_apart

HOSTILE = ["", ".", "..", "../../etc/passwd", "a/b", "a\\b", "C:\\x", "~", "-rf", "=1+1", ".hidden", "x\0y", "a\nb",
           "con", "NUL.txt", "x" * 300, "肝" * 200, "\udcff", "a b ", "trailing.", "\u202egnp.exe", "a:b", "*?",
           "\x1b[31mred"]  # fmt: skip


def check_safe(name: str) -> None:
    assert name
    assert len(name.encode()) <= LONGEST
    assert PurePosixPath(name).name == PureWindowsPath(name).name == name
    assert name not in (".", "..")
    assert not name.startswith((".", "-", "=", "+", "@"))
    assert not name.endswith((".", " "))
    assert name.isprintable()
    assert unicodedata.is_normalized("NFC", name)


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_texts_become_names(text: str) -> None:
    check_safe(safe_name(text))


@given(st.text(st.characters(exclude_categories=()), max_size=150))
def test_any_text_becomes_a_name(text: str) -> None:
    name = safe_name(text)
    check_safe(name)
    assert safe_name(name) == name


def test_usual_names_stay() -> None:
    for name in ("case 7".replace(" ", "_"), "Größe_肝臓", "3Dircadb1.17", "ct-1"):
        assert safe_name(name) == name
    assert safe_name("Gro\u0308ße") == "Größe"


def test_long_names_stay_apart() -> None:
    a, b = (safe_name("x" * 200 + end) for end in "ab")
    assert a != b
    assert short_digest("\udcff") != short_digest("\udcfe")


@given(
    st.lists(st.lists(st.sampled_from(["a", "A", "b", "a/b", "a_b", ".."]), min_size=1, max_size=3), max_size=8),
    st.randoms(),
)
def test_names_differ_whatever_the_capitals(candidates: list[list[str]], random) -> None:
    names = tell_apart(candidates)
    assert len({name.casefold() for name in names}) == len(candidates)
    for name in names:
        check_safe(name)


def test_names_do_not_depend_on_the_order() -> None:
    candidates = [["ct", "a_ct", "a_ct-1"], ["ct", "b_ct", "b_ct-2"], ["liver"], ["a_ct", "c_a_ct"]]
    names = dict(zip(map(tuple, candidates), tell_apart(candidates), strict=True))
    assert names[("liver",)] == "liver"
    assert dict(zip(map(tuple, candidates[::-1]), tell_apart(candidates[::-1]), strict=True)) == names
