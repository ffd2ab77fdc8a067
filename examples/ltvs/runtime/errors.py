"""The one exception that a command line turns into a one-line message, and what helps to write such a line."""

from collections.abc import Sequence


class InputError(ValueError):
    """Something the user gave cannot be used; the message says what, why and the remedy in one line."""


def itk_reason(error: RuntimeError) -> str:
    """The last line of an ITK message, which holds the reason, without its file and line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1].removeprefix("sitk::ERROR: ") if lines else "no reason given"


def few(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def plain(numbers: Sequence[float]) -> str:
    """Numbers in brackets, with no more digits than a reader needs."""
    return "(" + ", ".join(f"{number:.6g}" for number in numbers) + ")"
