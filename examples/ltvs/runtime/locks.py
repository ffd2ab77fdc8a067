"""One process at a time writes into a folder."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ltvs.runtime.errors import InputError

_NAME = ".lock"
_held: set[int] = set()


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Make the folder and keep every other process out of it that asks; the system ends that when this one dies.

    A folder that was made for this and stays empty is removed again.

    Raises:
        InputError: another process is at work in the folder, or it cannot be written to.
    """
    made = not folder.exists()
    path = folder / _NAME
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = _take(path)
    except BlockingIOError:
        raise InputError(
            f"{folder}: another process is at work here; wait until it is done, or give another --output"
        ) from None
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror})") from error
    _held.add(file)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        _held.discard(file)
        os.close(file)
        if made:
            with suppress(OSError):
                folder.rmdir()


def _take(path: Path) -> int:
    """The locked file. Its owner removes it in the end: a lock on a file that is no longer there keeps nobody out."""
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists() and os.path.samestat(os.fstat(file), path.stat()):
                return file
        except BaseException:
            os.close(file)
            raise
        os.close(file)


def _let_go() -> None:
    """A forked process does not hold the locks of its parent, which it may outlive for a moment."""
    while _held:
        os.close(_held.pop())


os.register_at_fork(after_in_child=_let_go)
