"""The exception that a command line turns into a one-line message, and helpers to write such a line."""

from collections.abc import Sequence


class InputError(ValueError):
    """Something the user gave cannot be used; the message names it, the reason and the remedy in one line."""


def itk_reason(error: RuntimeError) -> str:
    """Return the last line of an ITK message, which holds the reason, without file and line number."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1].removeprefix("sitk::ERROR: ") if lines else "no reason given"


def few(names: Sequence[str]) -> str:
    """Return the first names, and how many more there are, as text."""
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def plain(numbers: Sequence[float]) -> str:
    """Return numbers in brackets, with at most six digits each."""
    return "(" + ", ".join(f"{number:.6g}" for number in numbers) + ")"
