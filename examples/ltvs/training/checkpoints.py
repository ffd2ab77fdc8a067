"""Checkpoints that survive a kill at any moment: with a checksum, and the previous one kept in reserve.

FOLDER/last.ckpt  FOLDER/previous.ckpt: the SHA-256 of the rest in hexadecimal, a line feed, and a file as torch.save
writes it. It is read with weights_only=True, which executes nothing.
"""

import hashlib
import io
import pickle
import warnings
from pathlib import Path
from typing import Any

import torch

from ltvs.runtime.errors import InputError
from ltvs.runtime.files import atomic_path, flush

_DIGEST = 64


class DamagedCheckpointWarning(UserWarning):
    """The newest checkpoint cannot be used, so the previous one is."""


def save_checkpoint(state: dict[str, Any], folder: Path) -> None:
    """Write the newest checkpoint; the one that was newest becomes the previous one once this one is verified.

    Args:
        state: tensors, numbers, strings, and dictionaries and lists of them.
        folder: created if need be.

    Raises:
        InputError: the folder cannot be written to, the disk is full, or the file reads back differently.
    """
    buffer = io.BytesIO()
    torch.save(state, buffer)
    payload = buffer.getbuffer()
    with atomic_path(_last(folder), previous=_previous(folder)) as path:
        with path.open("wb") as file:
            file.write(hashlib.sha256(payload).hexdigest().encode() + b"\n")
            file.write(payload)
        _verified(path)
    flush(folder)


def has_checkpoint(folder: Path) -> bool:
    """Return whether there is a checkpoint to resume from."""
    return _last(folder).exists() or _previous(folder).exists()


def load_checkpoint(folder: Path) -> dict[str, Any] | None:
    """Return the newest checkpoint that is whole, its tensors in main memory; None if there is none.

    Warns:
        DamagedCheckpointWarning: the newest is torn or damaged, and this is the previous one.

    Raises:
        InputError: there are checkpoints, and none of them is whole.
    """
    reasons = []
    for path in (_last(folder), _previous(folder)):
        if not path.exists():
            continue
        try:
            state = _read(path)
        except InputError as error:
            reasons.append(str(error))
            continue
        if reasons:
            warnings.warn(DamagedCheckpointWarning(f"{reasons[0]}; resuming from {path.name}"), stacklevel=2)
        return state
    if reasons:
        raise InputError(f"{'; '.join(reasons)}; remove {folder.parent} to begin again")
    return None


def _last(folder: Path) -> Path:
    return folder / "last.ckpt"


def _previous(folder: Path) -> Path:
    return folder / "previous.ckpt"


def _read(path: Path) -> dict[str, Any]:
    try:
        state = torch.load(io.BytesIO(_verified(path)), map_location="cpu", weights_only=True)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (RuntimeError, pickle.UnpicklingError, EOFError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        reason = str(error).splitlines()[0]
        raise InputError(f"{path}: is not a checkpoint of train_ltvs.py ({reason})") from error
    if not isinstance(state, dict):
        raise InputError(f"{path}: is not a checkpoint of train_ltvs.py (holds a {type(state).__name__})")
    return state


def _verified(path: Path) -> bytes:
    """Return the bytes after the checksum, which they have to match."""
    content = path.read_bytes()
    digest, payload = content[:_DIGEST], content[_DIGEST + 1 :]
    if hashlib.sha256(payload).hexdigest().encode() != digest:
        raise InputError(f"{path}: is torn or damaged ({len(content)} bytes, the checksum does not fit)")
    return payload
