"""Behavior of every command line: help with each setting, one line per error, exit codes."""

import ast
import dataclasses
import inspect
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ltvs.runtime.command_line import run
from ltvs.runtime.errors import InputError

EXAMPLES = Path(__file__).parents[3] / "examples"
NAMES = ["prepare_ltvs", "train_ltvs", "predict_ltvs", "evaluate_ltvs", "demo"]
OTHERS = ["demo_train", "export_onnx", "make_bundle", "make_networks", "ship_networks"]


@dataclass(frozen=True)
class Settings:
    """Settings of a command."""

    size: int = 3
    """Size, mm."""

    def __post_init__(self) -> None:
        if self.size > 99:
            raise InputError(f"--size {self.size}: expected 99 or less, for " + 20 * "long reasons, and " + "so on")


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


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError(28, "No space left on device", "run/log.txt"), "error: run/log.txt: No space left on device\n"),
        (MemoryError("Unable to allocate 9 TiB"), "error: out of memory (Unable to allocate 9 TiB); end other"),
        (RuntimeError("CUDA error: out of memory\nmore"), "error: out of memory (CUDA error: out of memory more); end"),
    ],
)
def test_a_disk_or_a_memory_that_is_full_is_one_line_and_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, error: Exception, line: str
) -> None:
    def main(settings: Settings) -> None:
        raise error

    with pytest.raises(SystemExit, match="2"):
        start(monkeypatch, main)
    said = capsys.readouterr().err
    assert said.startswith(line)
    assert said.count("\n") == 1


def test_settings_that_make_no_sense_are_one_line_and_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    with pytest.raises(SystemExit, match="2"):
        start(monkeypatch, print, "--size", "100")
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("error: --size 100: expected 99 or less, for long reasons")
    assert said.err.endswith("so on\n")
    assert said.err.count("\n") == 1


def test_names_that_do_not_print(tmp_path: Path) -> None:
    """Names of files may hold line breaks and bytes that are no text, and a terminal may know ASCII alone."""
    script = tmp_path / "command.py"
    script.write_text(f"""
import sys
from dataclasses import dataclass
sys.path.insert(0, {str(EXAMPLES)!r})
from ltvs.runtime.command_line import run
from ltvs.runtime.errors import InputError
@dataclass(frozen=True)
class Settings:
    name: str
    'Name.'
def main(settings):
    'Fail.'
    print(settings.name)
    raise InputError(settings.name + ': does not exist')
run(main, Settings)
""")
    words = [sys.executable, str(script), "--name", os.fsdecode("Leber ü\n".encode() + b"\xff")]
    environment = os.environ | {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "1"}
    done = subprocess.run(words, capture_output=True, check=False, text=True, env=environment)
    assert done.returncode == 2
    assert done.stdout == "Leber \\xfc\n\\udcff\n"
    assert done.stderr == "error: Leber \\xfc\\n\\udcff: does not exist\n"


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


#: Runs each script as `python SCRIPT --help` does, in one process, since imports of libraries take seconds.
SHOW_HELP = """
import runpy, sys
path = sys.path.copy()
for script in sys.argv[1:]:
    print(end="\\f", flush=True)
    sys.path[:] = [script.rpartition("/")[0], *path[1:]]
    sys.argv[:] = [script, "--help"]
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as ended:
        if ended.code:
            raise
"""


@pytest.fixture(scope="module")
def help_texts() -> dict[str, str]:
    """The `--help` of every script by its name, as a user starts it: no PYTHONPATH, another working folder."""
    scripts = [str(EXAMPLES / f"{name}.py") for name in NAMES]
    words = [sys.executable, "-c", SHOW_HELP, *scripts]
    shown = subprocess.run(words, capture_output=True, text=True, check=True, cwd="/").stdout
    return dict(zip(NAMES, shown.removeprefix("\f").split("\f"), strict=True))


def settings_of(name: str) -> Any:
    module = vars(__import__(name))
    return next(value for key, value in module.items() if key.endswith("Settings") and dataclasses.is_dataclass(value))


@pytest.mark.parametrize("name", [*NAMES, *OTHERS])
def test_lines_of_help_end_where_sentences_do(name: str) -> None:
    """For tyro breaks the text of a setting where its source does."""
    settings = ast.parse(inspect.getsource(settings_of(name))).body[0]
    texts = [ast.literal_eval(node.value) for node in ast.walk(settings) if isinstance(node, ast.Expr)
             if isinstance(node.value, ast.Constant)]  # fmt: skip
    assert not [line for text in texts for line in text.splitlines() if not line.endswith((".", ":", ";"))]


@pytest.mark.parametrize("name", NAMES)
def test_help_shows_every_setting(name: str, help_texts: dict[str, str]) -> None:
    for field in dataclasses.fields(settings_of(name)):
        assert f"--{field.name.replace('_', '-')}" in help_texts[name]
