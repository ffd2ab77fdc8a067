"""The record of a case: the result of the last attempt, and what its files were made from.

The process that holds the lock of the folder writes OUTPUT/.labeling/NAME/record.json, always as a whole.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

from ltvs.runtime.errors import InputError
from ltvs.runtime.files import read_json, write_json

RECORDS = ".labeling"
FORMAT = 1

Outcome = Literal["begun", "labeled", "kept from before", "no liver", "failed"]
#: With labels.
DONE = ("labeled", "kept from before")


@dataclass(frozen=True)
class Made:
    """From what the files of a case were made.

    Args:
        source: digest of the input's bytes.
        size: of the input, bytes.
        networks: digest of the networks.
        options: that the labels depend on.
        files: digests of the files by their names.
        endings: of the files that were asked for; a structure that is not there has no surface.
        bodies: ml of the bodies that stage 1 found.
        numbers: volumes in ml, and the number of tumors.
        doubts: signs of distrust.
    """

    source: str
    size: int
    networks: str
    options: Mapping[str, Any]
    files: Mapping[str, str] = field(default_factory=dict)
    endings: tuple[str, ...] = ()
    bodies: tuple[float, ...] = ()
    numbers: Mapping[str, float] = field(default_factory=dict)
    doubts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Record:
    """What is known of a case.

    Args:
        attempt: that this is of; every attempt has another name.
        outcome: of the attempt.
        shown: the input, as it is told to the user.
        reason: of a failure.
        seconds: that the attempt took.
        made: from what the files that are there were made, or are being made.
        own: digests of files that this command has written under a name, the last ones.
    """

    attempt: str
    outcome: Outcome
    shown: str
    reason: str = ""
    seconds: float = 0.0
    made: Made | None = None
    own: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """Return the record in a folder; None if there is none, or none that this version understands."""
        try:
            content = read_json(folder / "record.json")
            if content.pop("format") != FORMAT:
                return None
            made = content.pop("made")
            own = {name: tuple(digests) for name, digests in content.pop("own").items()}
            if made is not None:
                made = Made(**made | {name: tuple(made[name]) for name in ("endings", "bodies", "doubts")})
            return cls(**content, made=made, own=own)
        except (InputError, KeyError, TypeError, AttributeError, ValueError):
            return None

    def write(self, folder: Path) -> None:
        """Replace the record in a folder."""
        write_json(folder / "record.json", {"format": FORMAT, **asdict(self)})


def content_digest(files: Iterable[Path]) -> str:
    """Return a digest of the bytes of files, whatever their names and their order.

    Raises:
        OSError: one cannot be read.
    """
    return hashlib.sha256(b"".join(sorted(bytes.fromhex(file_digest(file)) for file in files))).hexdigest()


def file_digest(file: Path) -> str:
    """Return the SHA-256 of a file.

    Raises:
        OSError: it cannot be read.
    """
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def is_as_made(file: Path, digests: Iterable[str]) -> bool:
    """Return whether a file is there and has one of these digests."""
    return file.is_file() and not file.is_symlink() and file_digest(file) in set(digests)
