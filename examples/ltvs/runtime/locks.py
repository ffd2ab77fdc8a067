"""Locks that let one process at a time write into a folder."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from ltvs.runtime.errors import InputError

_NAME = ".lock"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Create the folder and keep out every other process that asks; the system ends the lock when this process dies.

    A folder that was created for the lock and stays empty is removed again. Forked processes do not hold the lock.

    Raises:
        InputError: another process is at work in the folder, or it cannot be written to.
    """
    created = not folder.exists()
    path = folder / _NAME
    # Long enough to try again where the owner removes the file between our opening it and our locking it.
    lock = FileLock(path, timeout=0.1, poll_interval=0.02)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise InputError(
            f"{folder}: another process is at work here; wait until it is done, or give another --output"
        ) from None
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror})") from error
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        lock.release()
        if created:
            with suppress(OSError):
                folder.rmdir()
