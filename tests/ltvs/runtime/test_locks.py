"""One writer at a time: a second one is refused, and the lock goes with the process that holds it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ltvs.runtime.errors import InputError
from ltvs.runtime.locks import locked

HOLD = """
import sys, pathlib
from ltvs.runtime.locks import locked
with locked(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_one_is_refused_until_the_first_is_done(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "ä"
    with locked(folder), pytest.raises(InputError, match=r"ä: another process is at work here; wait"):
        locked(folder).__enter__()
    assert not folder.exists(), "nothing was put into it"
    folder.mkdir(parents=True)
    with locked(folder):
        (folder / "made").write_text("")
    assert [path.name for path in folder.iterdir()] == ["made"]


def test_another_process_and_its_death(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(InputError, match="is at work here"), locked(tmp_path):
            pass
        other.kill()
    with locked(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == [], "the lock of the killed one is gone, too"


def test_a_lock_file_that_was_removed_meanwhile_is_not_taken_for_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The owner removes the file between our opening it and our locking it: what we hold then keeps nobody out."""
    import fcntl

    taken, lock = [], fcntl.flock

    def late(file: int, how: int) -> None:
        if not taken:
            (tmp_path / ".lock").unlink()
        taken.append(file)
        lock(file, how)

    monkeypatch.setattr("fcntl.flock", late)
    with locked(tmp_path):
        assert len(taken) == 2
        assert (tmp_path / ".lock").exists()


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="file: cannot be written"), locked(tmp_path / "file"):
        pass
