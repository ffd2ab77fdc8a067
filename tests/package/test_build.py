"""`python -m crossattn3d.build`: what it says and its exit status."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import crossattn3d
from support.backends import needs_cpp

SOURCE = str(Path(crossattn3d.__file__).parents[1])


def start(cache: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "crossattn3d.build"]
    given = os.environ | {"PYTHONPATH": SOURCE, "XDG_CACHE_HOME": str(cache)} | environment
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=given)


def test_without_a_compiler_it_says_so_in_one_line(tmp_path: Path) -> None:
    done = start(tmp_path, PATH=str(tmp_path), CXX="")
    line = "error: C++ cannot be used: no C++ compiler (g++ 12 or newer, or clang++) was found\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", line)


def test_a_cache_that_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("")
    done = start(tmp_path / "cache")
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(r"error: C\+\+ cannot be used: .*Not a directory: .*\n", done.stderr)


@pytest.mark.slow
@needs_cpp
def test_it_builds_once_and_then_finds_it(tmp_path: Path) -> None:
    first, second = start(tmp_path), start(tmp_path)
    (library,) = (tmp_path / "crossattn3d").iterdir()
    built, compiler = first.stdout.splitlines()
    assert built == f"built: {library}"
    assert re.fullmatch(r"compiler: (GCC|.*[Cc]lang) \d+.*", compiler)
    assert first.stderr.count("\n") == 1
    assert re.match(r"crossattn3d: compiling C\+\+ .* with /", first.stderr)
    assert (second.stdout, second.stderr) == (f"found: {library}\n{compiler}\n", "")
    assert (first.returncode, second.returncode) == (0, 0)
