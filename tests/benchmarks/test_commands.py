"""Every command answers --help and refuses words that it does not know, without a measurement or a changed page."""

import importlib
import re
import runpy
import sys
from importlib.util import find_spec

import pytest

from benchmarks import ROOT, pages

COMMANDS = sorted(
    ".".join(file.relative_to(ROOT).with_suffix("").parts)
    for file in (ROOT / "benchmarks").rglob("*.py")
    if re.search("^if __name__ ==", file.read_text(encoding="utf-8"), re.MULTILINE)
)


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(("word", "status"), [("--help", 0), ("--no-such-option", 2)])
@pytest.mark.filterwarnings("ignore:.*found in sys.modules:RuntimeWarning")
def test_help_and_unknown_words_do_nothing_else(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, command: str, word: str, status: int
) -> None:
    if command.startswith("benchmarks.gpu_") and find_spec("triton") is None:
        pytest.skip("Triton is not installed: pip install '.[triton]'")
    monkeypatch.setattr(sys, "argv", [command, word])
    monkeypatch.setattr(pages, "write", lambda page, *_: pytest.fail(f"{page} is written"))
    with pytest.raises(SystemExit) as ended:
        runpy.run_module(command, run_name="__main__")
    assert ended.value.code == status
    assert "usage: " in "".join(capsys.readouterr())


def test_commands_are_found() -> None:
    assert {"benchmarks.memory", "benchmarks.speed.tables", "benchmarks.speed.__main__"} <= set(COMMANDS)


@pytest.mark.parametrize(
    "words",
    [
        "loader --rounds 0",
        "loader --batches -1",
        "loader.rendering --rounds 0",
        "roundtrip --input . --rounds 0",
        "speed --device cpu --first 0",
        "synthesis --output o --steps 0",
    ],
)
def test_numbers_below_one_are_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, words: str
) -> None:
    command, *rest = words.split()
    package = not command.endswith("rendering")
    monkeypatch.setattr(sys, "argv", [command, *rest])
    with pytest.raises(SystemExit, match="2"):
        importlib.import_module(f"benchmarks.{command}{'.__main__' if package else ''}").main()
    assert f"{rest[-2]}: expected 1 or more; got {rest[-1]}\n" in capsys.readouterr().err
