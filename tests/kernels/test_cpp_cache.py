"""The folder for compiled code: one process works in it at a time, and none waits for ever."""

import fcntl
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from crossattn3d.kernels.cpp import cache
from crossattn3d.kernels.cpp.cache import ABANDONED, alone_in

HOLD = """
import fcntl, os, sys
fcntl.flock(os.open(sys.argv[1], os.O_RDONLY), fcntl.LOCK_EX)
print("locked", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path: Path):
    """Another process that has the folder to itself."""
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "locked\n"
        yield process


def left_behind(folder: Path, name: str, age: float) -> Path:
    made = folder / name
    made.mkdir()
    (made / "tiles.so").write_bytes(b"half a file")
    os.utime(made, (time.time() - age,) * 2)
    return made


def test_what_a_killed_process_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    old = left_behind(tmp_path, "building-old", ABANDONED + 60)
    # A machine that shares the folder, but not the lock, may be at work there.
    new, other = left_behind(tmp_path, "building-new", 60), left_behind(tmp_path, "other", ABANDONED + 60)
    with alone_in(tmp_path, 60.0):
        assert [path.exists() for path in (old, new, other)] == [False, True, True]


def test_one_waits_for_the_other(tmp_path: Path, holder, monkeypatch: pytest.MonkeyPatch) -> None:
    waits = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        holder.stdin.close()
        holder.wait()

    monkeypatch.setattr(cache.time, "sleep", sleep)
    with alone_in(tmp_path, 60.0):
        assert len(waits) == 1


def test_none_waits_for_ever(tmp_path: Path, holder) -> None:
    old = left_behind(tmp_path, "building-old", ABANDONED + 60)
    with alone_in(tmp_path, 0.2):
        assert holder.poll() is None
        assert old.exists()  # it may be the other one's
    holder.stdin.close()


def test_folders_that_cannot_be_locked_are_used_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(*_: object) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    old = left_behind(tmp_path, "building-old", ABANDONED + 60)
    with alone_in(tmp_path, 60.0):
        assert old.exists()
