"""One writer at a time: a second one is refused, and the lock goes with the process that holds it."""

import errno
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


def check_another_process_and_its_death(folder: Path, script: str) -> None:
    """Check that what a process holds is not to be had until it is killed, and that nothing is left then."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", script, str(folder)], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(InputError, match="is at work here"), locked(folder):
            pass
        other.kill()
    with locked(folder):
        pass
    assert list(folder.iterdir()) == [], "the lock of the killed one is gone, too"


def test_another_process_and_its_death(tmp_path: Path) -> None:
    check_another_process_and_its_death(tmp_path, HOLD)


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


#: The script `HOLD` on a file system whose locks fail with the error of this number.
HOLD_WITHOUT = (
    """
import errno, fcntl, os
def lacks(*_):
    raise OSError(NUMBER, os.strerror(NUMBER))
fcntl.flock = lacks
"""
    + HOLD
)
NONE = [errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK, errno.EIO, errno.EINVAL]


@pytest.fixture
def without_locks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    number = getattr(request, "param", errno.ENOTSUP)

    def lacks(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", lacks)
    return number


@pytest.mark.parametrize("without_locks", NONE, indirect=True)
def test_without_locks_it_goes_on_and_says_so(
    tmp_path: Path, without_locks: int, capfd: pytest.CaptureFixture, recwarn: pytest.WarningsRecorder
) -> None:
    folder = tmp_path / "new"
    with locked(folder):
        line = f"warning: {folder}: its file system has no locks ({os.strerror(without_locks)}); "
        assert capfd.readouterr().err == f"{line}use it from one machine at a time\n"
        with pytest.raises(
            InputError, match=r"at work here; wait .*; if none is, here or on another machine, remove .*new"
        ):
            locked(folder).__enter__()
    assert not folder.exists(), "nothing was put into it"
    assert not recwarn.list


@pytest.mark.parametrize("without_locks", [errno.ENOTSUP], indirect=True)
def test_without_locks_another_process_and_its_death(tmp_path: Path, without_locks: int) -> None:
    check_another_process_and_its_death(tmp_path, HOLD_WITHOUT.replace("NUMBER", str(without_locks)))


def test_without_locks_what_another_machine_has_left_is_not_taken(tmp_path: Path, without_locks: int) -> None:
    left = tmp_path / ".lock-by-name"
    left.write_text("77\nanother-machine\n")
    with pytest.raises(InputError, match=r"or on another machine, remove .*lock-by-name"), locked(tmp_path):
        pass
    assert left.exists()


def test_without_locks_a_folder_that_cannot_be_written_is_an_error(
    tmp_path: Path, without_locks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.open

    def read_only(path: object, flags: int, *more: int, **named: int) -> int:
        if flags & os.O_CREAT and str(path).startswith(str(tmp_path)):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        return real(path, flags, *more, **named)

    monkeypatch.setattr(os, "open", read_only)
    with pytest.raises(InputError, match=r"cannot be written \(Read-only file system\)"), locked(tmp_path):
        pass


WITHOUT_FCNTL = """
import pathlib, sys, warnings
sys.modules["fcntl"] = None
from ltvs.runtime.locks import locked
with locked(pathlib.Path(sys.argv[1])):
    print("held")
"""


def test_a_system_without_fcntl(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    words = [sys.executable, "-c", WITHOUT_FCNTL, str(tmp_path)]
    assert subprocess.run(words, env=environment, capture_output=True, text=True, check=True).stdout == "held\n"
    assert list(tmp_path.iterdir()) == []
