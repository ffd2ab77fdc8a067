"""What the parser says about words that it does not understand is one line, in every terminal."""

import sys
from dataclasses import dataclass
from typing import Literal

import pytest

from ltvs.runtime.command_line import run


@dataclass
class Settings:
    """Settings.

    Args:
        data: the folder that is
            read, described at such a length that its description needs several lines of a box.
        size: a number.
        pair: two numbers.
        kind: a choice.
    """

    data: str
    size: float = 3
    pair: tuple[int, int] = (1, 2)
    kind: Literal["a", "b"] = "a"


def never(settings: Settings) -> None:
    raise AssertionError("the words are understood")


@pytest.mark.parametrize("colored", [False, True])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("", "expected --data STR"),
        ("--data d --far", "unrecognized options: --far"),
        ("--data d --siz 2", "unrecognized options: --siz, 2; perhaps you meant: --size FLOAT"),
        ("--far", "expected --data STR; unrecognized options: --far"),
        ("--data d --size far", "--size: could not convert string to float: 'far'"),
        ("--data d --kind c", "invalid choice 'c' for argument '--kind'. Expected one of ('a', 'b')"),
        ("--data d --pair 1", "missing value for argument '--pair'. Expected 2 values"),
    ],
)
def test_words_that_are_not_understood_are_one_line_and_2(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
    words: str,
    line: str,
    encoding: str,
    colored: bool,
) -> None:
    monkeypatch.setattr(sys, "argv", ["examples/command.py", *words.split()])
    monkeypatch.setattr(type(sys.stdout), "encoding", encoding, raising=False)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: colored)
    monkeypatch.setenv("TERM", "xterm")
    with pytest.raises(SystemExit, match="2"):
        run(never, Settings)
    assert capsys.readouterr().err == f"error: {line}; see command.py --help\n"
