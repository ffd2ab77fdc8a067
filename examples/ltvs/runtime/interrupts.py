"""SIGTERM and Ctrl-C as a wish that is granted between two steps, when everything can be saved."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Self

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Terminated(KeyboardInterrupt):
    """The process is to end, as SIGTERM says, and cleans up as after Ctrl-C."""


def interrupt(number: int) -> KeyboardInterrupt:
    """The exception that a signal stands for."""
    return Terminated() if number == signal.SIGTERM else KeyboardInterrupt()


class Interrupts:
    """While entered, keeps the first SIGINT or SIGTERM in `asked`; a second one is raised at once.

    Example:
        >>> with Interrupts() as interrupts:
        ...     signal.raise_signal(signal.SIGTERM)
        ...     interrupts.asked
        15
    """

    def __init__(self) -> None:
        self.asked = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._ask) for number in _SIGNALS}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def check(self) -> None:
        """Raise what was asked for, if anything was."""
        if self.asked:
            raise interrupt(self.asked)

    def _ask(self, number: int, _: FrameType | None) -> None:
        again, self.asked = self.asked, int(number)
        if again:
            raise interrupt(number)


@contextmanager
def signals_blocked() -> Iterator[None]:
    """Processes started meanwhile never get SIGINT and SIGTERM; this one does, through another thread or afterwards."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
