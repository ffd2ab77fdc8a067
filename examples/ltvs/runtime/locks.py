"""Locks that let one process at a time write into a folder."""

import errno
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import BaseFileLock, FileLock, SoftFileLock, Timeout

from ltvs.runtime.errors import InputError

_NAME, _SOFT_NAME = ".lock", ".lock-by-name"

#: What flock fails with on file systems that lack it, or whose server of locks does not answer.
_NO_LOCKS = {errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOLCK, errno.EIO}


class BusyError(InputError):
    """Another process is at work in a folder."""


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Create the folder and keep out every other process that asks; the system ends the lock when this process dies.

    A folder that was created for the lock and stays empty is removed again. Forked processes do not hold the lock.

    On a file system without locks, a file that names this process stands for one, and a line says so. One that a
    process of this machine left behind does not count; one of another machine has to be removed by hand.

    Raises:
        BusyError: another process is at work in the folder.
        InputError: it cannot be written to.
    """
    created = not folder.exists()
    path = folder / _NAME
    # Long enough to try again where the owner removes the file between our opening it and our locking it.
    lock: BaseFileLock = FileLock(path, timeout=0.1, poll_interval=0.02, fallback_to_soft=False)
    remedy = "wait until it is done, or give another --output"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire()
        except OSError as error:
            if isinstance(error, Timeout) or error.errno not in _NO_LOCKS:
                raise
            _remove(path)
            path = folder / _SOFT_NAME
            remedy += f"; if none is, here or on another machine, remove {path}"
            lock = SoftFileLock(path, timeout=0.1, poll_interval=0.02)
            lock.acquire()
            lacks = f"its file system has no locks ({error.strerror})"
            print(f"warning: {folder}: {lacks}; use it from one machine at a time", file=sys.stderr)
    except Timeout:
        raise BusyError(f"{folder}: another process is at work here; {remedy}") from None
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror})") from error
    try:
        yield
    finally:
        _remove(path)
        lock.release()
        if created:
            with suppress(OSError):
                folder.rmdir()


def _remove(path: Path) -> None:
    """Remove the file of a lock; Windows does not while it is open."""
    with suppress(OSError):
        path.unlink()
