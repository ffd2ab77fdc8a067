"""Unpacking of zips, nested ones too, into a temporary folder that is removed afterwards."""

import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from ltvs.runtime.errors import InputError

#: Errors that reading a damaged or an encrypted zip can raise.
_UNREADABLE = (OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)


def member_names(path: Path) -> list[str]:
    """Return the names of the files in a zip, none of which leads out of the folder it is unpacked to.

    Raises:
        InputError: the zip cannot be read, or holds a path that leads out.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = [info.filename for info in archive.infolist() if not info.is_dir()]
    except _UNREADABLE as error:
        raise InputError(f"{path}: cannot be read as a zip ({error}); download it again") from error
    for name in names:
        inside = PurePosixPath(name.replace("\\", "/"))
        if inside.is_absolute() or ".." in inside.parts or ":" in inside.parts[0]:
            raise InputError(f"{path}: refused, it would write outside its folder ({name})")
    return names


@contextmanager
def unpacked(place: Path, root: str, is_used: Callable[[PurePosixPath], bool]) -> Iterator[tuple[Path, ...]]:
    """Yield the folders that hold the files of `place`: itself if a folder, and one with unpacked zips.

    Args:
        place: a zip, or a folder that may hold zips.
        root: the folder or the zip in the zip to unpack; empty for all.
        is_used: returns whether the file at a path is needed, or the zip may hold such files.

    Raises:
        InputError: a zip cannot be unpacked.
    """
    with tempfile.TemporaryDirectory(prefix="unpacked-") as temporary:
        folder = Path(temporary)
        if place.is_dir():
            for path in sorted(place.glob("*.zip")):
                if is_used(PurePosixPath(path.name)) and not path.with_suffix("").is_dir():
                    _unpack(path, "", _target(path, folder), is_used)
        else:
            _unpack(place, root, folder, is_used)
        while inner := sorted(folder.rglob("*.zip")):
            for path in inner:
                _unpack(path, "", _target(path, path.parent), is_used)
                path.unlink()
        yield (place, folder) if place.is_dir() else (folder,)


def _target(path: Path, parent: Path) -> Path:
    """Return the folder to unpack a zip into: one of its name, unless that is all it holds."""
    has_folder = all(PurePosixPath(name).parts[0] == path.stem for name in member_names(path))
    return parent if has_folder else parent / path.stem


def _unpack(path: Path, root: str, folder: Path, is_used: Callable[[PurePosixPath], bool]) -> None:
    """Unpack the files of a zip that are used, if the disk has room for them."""
    wanted = [name for name in member_names(path) if not root or name == root or name.startswith(f"{root}/")]
    used = [name for name in wanted if is_used(PurePosixPath(folder.name, name))]
    try:
        with zipfile.ZipFile(path) as archive:
            needed, there = sum(archive.getinfo(name).file_size for name in used), Path(tempfile.gettempdir())
            free = shutil.disk_usage(there).free
            if needed > free:
                raise InputError(
                    f"{path}: refused, it unpacks to {needed / 1e9:.3g} GB, {free / 1e9:.3g} GB are free in {there}; "
                    "free some space, or check that this is the right zip"
                )
            archive.extractall(folder, used)
    except _UNREADABLE as error:
        raise InputError(f"{path}: cannot be unpacked ({error}); download it again") from error
