"""Memory that was freed and that the process still holds."""

import ctypes
from collections.abc import Callable
from functools import cache


def give_back_memory() -> None:
    """Give freed memory back to the system.

    The C library of Linux (glibc) keeps freed blocks of up to 32 MB for the next ones of their size. Those of tiles,
    each of another size, lie between blocks that are still used, and do not fit the maps that follow. Other C libraries
    are left to do as they do.
    """
    trim = _malloc_trim()
    if trim is not None:
        trim(0)


@cache
def _malloc_trim() -> Callable[[int], int] | None:
    # The libraries that the process has loaded; elsewhere there is no such function, or no such way to look for it.
    try:
        trim: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        return None
    return trim
