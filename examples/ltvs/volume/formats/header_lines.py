"""The lines of a header in text, and what its axes have to be."""

from collections.abc import Iterator
from pathlib import Path
from typing import IO

from ltvs.runtime.errors import InputError

#: Lines that no header exceeds, and bytes that no line does; a damaged file may hold any number.
_MOST_LINES, _LONGEST_LINE = 10_000, 1 << 16


def header_lines(file: IO[bytes]) -> Iterator[str]:
    """Yield lines as they are read, so that the file stands behind the last one; a last one may lack its end."""
    for _ in range(_MOST_LINES):
        yield file.readline(_LONGEST_LINE).decode("latin-1")


def check_three_axes(path: Path, axes: int) -> None:
    """Raise InputError unless a volume has three axes."""
    if axes != 3:
        remedy = "one volume of it" if axes > 3 else "all slices in one file"
        raise InputError(f"{path}: expected a 3D volume, got {axes}D; give {remedy}")
