"""Guards of what commands write: they never write to an input, and replace nothing unasked.

Commands call them before they compute anything. Paths are compared as the disk sees them: through links, hard links and
`..`, and upper and lower case alike where the disk does not tell them apart.
"""

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from ltvs.runtime.errors import InputError, few
from ltvs.runtime.files import TEMPORARY, atomic_path

_OTHER = "give another --output"


def check_outside(output: Path, inputs: Mapping[str, Path | None]) -> None:
    """Raise InputError if writing `output` would write to an input: to the same file, or into a folder.

    Args:
        output: file or folder to write.
        inputs: files and folders by the words that name them in the error; those that are None are not given.
    """
    for name, path in inputs.items():
        if path is None:
            continue
        if not path.is_dir() and _is_same(output, path):
            raise InputError(f"{output}: is {name} itself, which is never written to; {_OTHER}")
        if is_inside(output, path):
            raise InputError(f"{output}: is inside {name}, which is never written to; give another folder")
        if output.is_file() and (twin := _twin(output, path)) is not None:
            raise InputError(f"{output}: is {twin} of {name}, which is never written to; {_OTHER}")


def check_not_around(output: Path, inputs: Mapping[str, Path | None]) -> None:
    """Raise InputError if an input lies in a folder that is to be written.

    Args:
        output: folder to write.
        inputs: as for `check_outside`.
    """
    for name, path in inputs.items():
        if path is not None and is_inside(path, output):
            raise InputError(f"{output}: {name} is inside, which is never written to; give another folder")


def check_new_files(files: Iterable[Path], *, overwrite: bool) -> None:
    """Raise InputError unless files can be written: none exists, or they are to be replaced, and their folders can be.

    Args:
        files: to write.
        overwrite: whether files that exist may be replaced; folders never are.
    """
    for file in files:
        _check_parent(file)
        if file.is_dir():
            raise InputError(f"{file}: is a folder, expected the name of a file; {_OTHER}")
        if os.path.lexists(file) and not overwrite:
            raise InputError(f"{file}: exists already; {_OTHER}, or --overwrite to replace it")


def check_new_folder(output: Path, *, overwrite: bool, what: str, is_own: Callable[[Path], bool]) -> None:
    """Raise InputError unless a folder can be written: there is none, or it is to be replaced and holds nothing else.

    Args:
        output: folder to write.
        overwrite: whether a folder that exists may be replaced.
        what: the folder holds.
        is_own: whether a file, relative to the folder, is one that the command writes.
    """
    _check_parent(output)
    if not os.path.lexists(output):
        return
    if not overwrite:
        raise InputError(f"{output}: exists already; {_OTHER}, or --overwrite to replace it")
    if output.is_symlink() or not output.is_dir():
        raise InputError(f"{output}: expected a folder of {what} to replace, got a file or a link; {_OTHER}")
    files = (path for path in output.rglob("*") if path.is_symlink() or not path.is_dir())
    foreign = sorted(str(path.relative_to(output.parent)) for path in files if not is_own(path.relative_to(output)))
    if foreign:
        raise InputError(f"{output}: expected a folder of {what} to replace, got {few(foreign)} in it; {_OTHER}")


@contextmanager
def replaced_folder(output: Path) -> Iterator[Path]:
    """Yield a temporary path to write a folder to; on success it takes the place of `output`, which may exist.

    Raises:
        InputError: the folder cannot be written; what was there stays.
    """
    if not output.exists():
        with atomic_path(output) as folder:
            yield folder
        return
    with tempfile.TemporaryDirectory(prefix=TEMPORARY, dir=output.parent) as spare:
        before = Path(spare) / output.name
        try:
            with atomic_path(output, before) as folder:
                yield folder
        except BaseException:
            if before.exists() and not output.exists():
                before.replace(output)
            raise


def is_inside(path: Path, folder: Path) -> bool:
    """Return whether a path is a folder or lies in it, as named or where its links lead; neither need exist."""
    named = Path(os.path.realpath(path.parent)) / path.name
    real = Path(os.path.realpath(path))
    return any(_is_same(part, folder) for part in (named, *named.parents, real, *real.parents))


def _is_same(a: Path, b: Path) -> bool:
    """Return whether two paths are of one file or folder; by name where they do not exist."""
    try:
        return a.samefile(b)
    except OSError:
        return os.path.realpath(a) == os.path.realpath(b)


def _twin(output: Path, folder: Path) -> str | None:
    """Return the name of a file anywhere in a folder that is the same file as `output`, as hard links are."""
    for path in folder.rglob("*"):
        if path.is_file() and _is_same(path, output):
            return str(path.relative_to(folder))
    return None


def _check_parent(path: Path) -> None:
    """Raise InputError if the nearest folder above a path that exists is none, or cannot be written to."""
    parent = path.parent
    while not os.path.lexists(parent) and parent != parent.parent:
        parent = parent.parent
    if not parent.is_dir():
        raise InputError(f"{path}: cannot be written, {parent} is not a folder; {_OTHER}")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise InputError(f"{path}: cannot be written, {parent} is not for you to write to; {_OTHER}")
