"""What every command line does: help with each setting, one line per error, exit codes."""

import dataclasses
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from ltvs.runtime.command_line import run
from ltvs.runtime.errors import InputError

EXAMPLES = Path(__file__).parents[3] / "examples"


@dataclass(frozen=True)
class Settings:
    """Settings of a command."""

    size: int = 3
    """How large, mm."""


def start(monkeypatch: pytest.MonkeyPatch, main, *words: str) -> None:
    monkeypatch.setattr(sys, "argv", ["command", *words])
    run(main, Settings)


def test_the_settings_reach_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    start(monkeypatch, seen.append, "--size", "7")
    assert seen == [Settings(7)]


def test_bad_input_is_one_line_and_2(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    def main(settings: Settings) -> None:
        raise InputError(f"--size {settings.size}: expected less")

    with pytest.raises(SystemExit, match="2"):
        start(monkeypatch, main)
    assert capsys.readouterr().err == "error: --size 3: expected less\n"


def test_an_interrupt_is_said_and_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    def main(settings: Settings) -> None:
        raise KeyboardInterrupt

    with pytest.raises(SystemExit, match="130"):
        start(monkeypatch, main)
    assert capsys.readouterr().err == "interrupted\n"


def test_a_mistake_of_ours_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def main(settings: Settings) -> None:
        raise IndexError("list index out of range")

    with pytest.raises(IndexError, match="out of range"):
        start(monkeypatch, main)


def test_an_unknown_setting_is_2(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit, match="2"):
        start(monkeypatch, print, "--sizes", "7")
    assert "--sizes" in capsys.readouterr().err


def test_settings_are_a_dataclass() -> None:
    with pytest.raises(TypeError, match=r"command_line.run: expected a dataclass, got <class 'int'>"):
        run(print, int)


@pytest.mark.parametrize("name", ["prepare_ltvs", "train_ltvs", "predict_ltvs", "evaluate_ltvs", "demo"])
def test_help_shows_every_setting(name: str) -> None:
    """As a user starts it: no PYTHONPATH, another working folder."""
    words = [sys.executable, str(EXAMPLES / f"{name}.py"), "--help"]
    shown = subprocess.run(words, capture_output=True, text=True, check=True, cwd="/").stdout
    module = __import__(name)
    settings = next(
        value for key, value in vars(module).items() if key.endswith("Settings") and dataclasses.is_dataclass(value)
    )
    for field in dataclasses.fields(settings):
        assert f"--{field.name.replace('_', '-')}" in shown
