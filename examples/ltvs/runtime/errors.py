"""The exception that a command line turns into a one-line message, and helpers to write such a line."""

import errno
from collections.abc import Sequence

#: Words of the messages of libraries whose allocations fail, in the machine or on a GPU.
_NO_MEMORY = (
    "out of memory", "allocate memory", "allocate shared memory", "not enough memory", "ALLOC_FAILED", "bad_alloc",
)  # fmt: skip


class InputError(ValueError):
    """Something the user gave cannot be used; the message names it, the reason and the remedy in one line."""


def one_line(error: BaseException) -> str:
    """Return the message of an exception in one line, and its type where it has no message."""
    return " ".join(str(error).split()) or type(error).__name__


def printable(text: str) -> str:
    """Return text with whatever does not print, as names of files may hold it, as an escape: `\\n`, `\\udcff`."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def ran_out_of_memory(error: BaseException) -> bool:
    """Return whether an exception says that memory could not be allocated, in the machine or on a GPU."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    if isinstance(error, RuntimeError):
        return any(words in str(error) for words in _NO_MEMORY)
    return isinstance(error, MemoryError)


def reason_without_mistake(error: Exception) -> str | None:
    """Return one line for an exception that no mistake of the code has caused; None if one may have.

    It may be the user's input, memory that ran out, or files, disks and pipes that fail.
    """
    if isinstance(error, InputError):
        return str(error)
    if ran_out_of_memory(error):
        return f"out of memory ({one_line(error)[:120]}); end other programs, or use a machine or GPU with more of it"
    if isinstance(error, OSError):
        names = [str(name) for name in (error.filename, error.filename2) if name is not None]
        return ": ".join([*names, error.strerror or one_line(error)])
    return None


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
