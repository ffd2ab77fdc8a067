"""The modality that a file says it is of."""

from pathlib import Path

from ltvs.runtime.errors import InputError


def check_modality(path: Path, found: str, expected: str | None, file: str = "") -> None:
    """Raise InputError for a file of another modality.

    Args:
        path: of the file, or of the folder with its series, for messages.
        found: in its header; empty if it does not say.
        expected: `CT`, for example; None takes any.
        file: name of the file in the folder.
    """
    if expected is not None and found and found.upper() != expected:
        where = f" in {file}" if file else ""
        raise InputError(
            f"{path}: expected a series of Modality {expected}, got {found}{where}; give the {expected} series, or "
            "--force to take this one as it is"
        )
