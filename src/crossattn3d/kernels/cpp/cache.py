"""The folder for compiled code: in the user's cache, safe from other users, one process at a time."""

import os
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

#: Seconds after which a folder that a compiler works in is taken for one of a process that was killed.
ABANDONED = 3600


class UnavailableError(Exception):
    """The reason, in one line, why C++ cannot be used here."""


def cache_folder() -> Path:
    """Return the folder for compiled code, links resolved, made if necessary, which only the user can write to.

    Raises:
        UnavailableError: it is not the user's own, or others can put another one in its place.
        OSError: it cannot be made.
        RuntimeError: there is no home folder.
    """
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "crossattn3d"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder = folder.resolve()
    # Code is loaded from there: whoever can write to it could run anything.
    if not is_own(folder.lstat()):
        raise UnavailableError(f"{folder}: expected a folder that only this user can write to")
    for above in folder.parents:
        mode = above.stat().st_mode
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            raise UnavailableError(f"{above}: everyone can replace what is in it; set XDG_CACHE_HOME to another folder")
    return folder


@contextmanager
def alone_in(folder: Path, patience: float) -> Iterator[None]:
    """Keep other processes from compiling into the folder, where it can be locked, and remove what killed ones left.

    Without the lock, all goes well, too, as each process puts a whole file in place; it only takes longer.

    Args:
        folder: of the compiled code.
        patience: seconds to wait for the lock.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        if _is_locked(handle, patience):
            for left in folder.glob("building-*"):
                with suppress(OSError):
                    if left.stat().st_mtime < time.time() - ABANDONED:
                        shutil.rmtree(left)
        yield
    finally:
        os.close(handle)


def _is_locked(handle: int, patience: float) -> bool:
    """Wait for the lock of an open folder; return whether it was had in time, which it never is on some systems."""
    import fcntl  # which Windows does not have

    end = time.monotonic() + patience
    while time.monotonic() < end:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.1)
        except OSError:
            return False
        else:
            return True
    return False


def is_own(found: os.stat_result) -> bool:
    """Return whether a file or folder is this user's, and nobody else can write to it."""
    return found.st_uid == os.getuid() and not found.st_mode & 0o022
