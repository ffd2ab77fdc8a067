"""Digests of files and folders: equal for equal content, whatever their dates and location."""

import hashlib
import os
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tqdm import tqdm


def digests(paths: Collection[Path], threads: int) -> dict[Path, str | None]:
    """Return the digest of each file or folder; None if it cannot be read, which loading it will explain.

    Each path is read once, however many cases share it, several at a time and with a progress bar.
    """
    unique = sorted(set(paths))
    pool = ThreadPoolExecutor(threads)
    try:
        found = pool.map(digest, unique)
        return dict(
            zip(unique, tqdm(found, total=len(unique), desc="comparing", unit="file", disable=not unique), strict=True)
        )
    finally:
        pool.shutdown(cancel_futures=True)


def digest(path: Path) -> str | None:
    """Return the SHA-256 over the relative names and the bytes of all files in `path`; None if one cannot be read.

    A zip counts as a file. In a folder, files are sorted by name, links are followed, and dates do not matter.
    """
    whole = hashlib.sha256()
    try:
        for name, file in sorted(_files(path)):
            with file.open("rb") as opened:
                content = hashlib.file_digest(opened, "sha256").digest()
            # Hashed to a fixed length, so that no other names and bytes can concatenate to the same.
            whole.update(hashlib.sha256(os.fsencode(name)).digest() + content)
    except OSError:
        return None
    return whole.hexdigest()


def _files(path: Path) -> Iterator[tuple[str, Path]]:
    """Yield the name of every file, which begins with that of `path`, and the file."""
    if not path.is_dir():
        yield path.name, path
        return
    seen = set()
    for folder, folders, names in os.walk(path, onerror=_raise, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:  # a link to a folder above it
            folders.clear()
            continue
        seen.add(real)
        files = (Path(folder, name) for name in names)
        yield from ((str(Path(path.name, file.relative_to(path))), file) for file in files if file.is_file())


def _raise(error: OSError) -> None:
    raise error
