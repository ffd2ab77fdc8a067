"""Unpacking of zips, nested ones too, into a temporary folder that is removed afterwards."""

import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from ltvs.runtime.errors import InputError

#: Zips in zips are followed so far: there are zips that hold themselves.
DEEPEST = 8

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
            is_encrypted = any(info.flag_bits & 1 for info in archive.infolist())
    except _UNREADABLE as error:
        raise InputError(f"{path}: cannot be read as a zip ({error}); download it again") from error
    if is_encrypted:
        raise InputError(f"{path}: has a password; unpack it, and give the folder")
    for name in names:
        inside = PurePosixPath(name.replace("\\", "/"))
        if not inside.parts:
            raise InputError(f"{path}: holds a file without a name; unpack it, and give the folder")
        if inside.is_absolute() or ".." in inside.parts or ":" in inside.parts[0]:
            raise InputError(f"{path}: refused, it would write outside its folder ({name})")
    return names


@contextmanager
def unpacked(
    place: Path, root: str, is_used: Callable[[PurePosixPath], bool], *, inner: bool = True
) -> Iterator[tuple[Path, ...]]:
    """Yield the folders that hold the files of `place`: itself if a folder, and one with unpacked zips.

    Args:
        place: a zip, or a folder that may hold zips.
        root: the folder or the zip in the zip to unpack; empty for all.
        is_used: returns whether the file at a path is needed, or the zip may hold such files.
        inner: whether zips in zips are unpacked, too.

    Raises:
        InputError: a zip cannot be unpacked.
    """
    with tempfile.TemporaryDirectory(prefix="unpacked-") as temporary:
        folder = Path(temporary)
        if place.is_dir():
            for path in _zips(place.iterdir()):
                if is_used(PurePosixPath(path.name)) and not path.with_suffix("").is_dir():
                    _unpack(path, "", _target(path, folder), is_used)
        else:
            _unpack(place, root, folder, is_used)
        try:
            if inner:
                _unpack_inner(folder, is_used)
        except InputError as error:
            # The temporary folder is nothing that a user knows.
            raise InputError(str(error).replace(str(folder), str(place))) from error
        yield (place, folder) if place.is_dir() else (folder,)


def _unpack_inner(folder: Path, is_used: Callable[[PurePosixPath], bool]) -> None:
    """Unpack the zips in a folder, those in them, and so on, as deep as anybody packs them.

    Raises:
        InputError: one cannot be unpacked, or they go on without an end.
    """
    for _ in range(DEEPEST):
        inner = [path for path in _zips(folder.rglob("*")) if path.is_file()]
        for path in inner:
            _unpack(path, "", _target(path, path.parent), is_used)
            path.unlink()
        if not inner:
            return
    raise InputError(f"{folder}: holds zips in zips, {DEEPEST} deep or more; unpack it, and give the folder")


def _zips(paths: Iterable[Path]) -> list[Path]:
    """Return the paths that end as zips do, in capitals or not, in order."""
    return sorted(path for path in paths if path.suffix.lower() == ".zip")


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
    except OSError as error:
        raise InputError(
            f"{path}: cannot be unpacked ({error.strerror or error}); unpack it, and give the folder"
        ) from error
    except _UNREADABLE as error:
        raise InputError(f"{path}: cannot be unpacked ({error}); download it again") from error
