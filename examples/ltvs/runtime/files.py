"""Files and folders written whole: a killed process leaves the old one or the new one, never a part of one."""

import errno
import json
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
from numpy import ndarray

from ltvs.runtime.errors import InputError

#: Prefix of the names of temporary folders, which a killed process leaves behind.
TEMPORARY = ".writing-"

#: Errors of file systems that lack a function, which others have.
_LACKS = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENODEV}


@contextmanager
def atomic_path(path: Path, previous: Path | None = None) -> Iterator[Path]:
    """Yield a temporary path beside `path` to write a file or folder to; on success, flush it and rename it to `path`.

    Its files and folders get the mode that the umask gives, whatever wrote or copied them.

    Args:
        path: to write; its parent is created.
        previous: where to keep the file that is replaced.

    Raises:
        InputError: the parent cannot be written to, or the disk is full.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # What is left of the folder, where a network disk keeps a file that is open, the next run removes.
        with tempfile.TemporaryDirectory(prefix=TEMPORARY, dir=path.parent, ignore_cleanup_errors=True) as folder:
            temporary = Path(folder) / path.name
            yield temporary
            written = [file for file in (temporary, *temporary.rglob("*")) if not file.is_symlink()]
            _give_usual_modes(written, Path(folder))
            for file in written:
                flush(file)
            if previous is not None and path.exists():
                # Until the next rename, the previous file is the only one.
                path.replace(previous)
            temporary.replace(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error})") from error


def flush(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk, where system and file system can be asked to."""
    windows = sys.platform == "win32"
    if windows and path.is_dir():
        return
    file = os.open(path, os.O_RDWR if windows else os.O_RDONLY)
    try:
        os.fsync(file)
    except OSError as error:
        if error.errno not in _LACKS:
            raise
    finally:
        os.close(file)


def _give_usual_modes(written: list[Path], folder: Path) -> None:
    """Give files and folders the modes that new ones get in a folder: some libraries write for the owner alone."""
    file, inner = folder / f"{TEMPORARY}file", folder / f"{TEMPORARY}folder"
    file.touch()
    inner.mkdir()
    usual = {is_folder: stat.S_IMODE(path.stat().st_mode) for is_folder, path in ((False, file), (True, inner))}
    for path in written:
        mode = usual[path.is_dir()]
        if stat.S_IMODE(path.stat().st_mode) != mode:
            # A file system without modes, or with its own, keeps them.
            with suppress(OSError):
                path.chmod(mode)


def make_folder(path: Path) -> None:
    """Create a folder and those above it, unless they are there.

    Raises:
        InputError: it cannot be created.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror})") from error


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary folders that killed processes have left anywhere in a folder."""
    for leftover in folder.rglob(f"{TEMPORARY}*"):
        shutil.rmtree(leftover, ignore_errors=True)


def write_json(path: Path, content: Any) -> None:
    """Write `content` as indented JSON, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        InputError: the file is missing, unreadable or not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise InputError(f"{path}: is not valid JSON ({error})") from error


def map_array(path: Path) -> ndarray:
    """Map the array of a .npy file into memory, read-only; objects, which would be unpickled, are refused.

    On a file system that cannot map files it is read.

    Raises:
        InputError: the file is missing or damaged.
    """
    try:
        try:
            array: ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
        except OSError as error:
            if error.errno not in _LACKS:
                raise
            array = np.load(path, allow_pickle=False)
            array.flags.writeable = False
    # NumPy parses a header as Python's literals, and takes its shape as it is.
    except (OSError, ValueError, EOFError, OverflowError, TypeError, SyntaxError, TokenError, MemoryError) as error:
        raise InputError(f"{path}: is missing or damaged ({error})") from error
    return array
