"""SIGTERM and Ctrl-C as requests that are served between two steps, when everything can be saved."""

import signal
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Self

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Terminated(KeyboardInterrupt):
    """SIGTERM, which ends the process with the same clean-up as Ctrl-C."""


def interrupt(number: int) -> KeyboardInterrupt:
    """Return the exception for a signal."""
    return Terminated() if number == signal.SIGTERM else KeyboardInterrupt()


class Interrupts:
    """A context that keeps the first SIGINT or SIGTERM in `asked`; a second one is raised at once.

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
        """Raise the exception of the signal that has arrived, if any."""
        if self.asked:
            raise interrupt(self.asked)

    def _ask(self, number: int, _: FrameType | None) -> None:
        second, self.asked = self.asked, int(number)
        if second:
            raise interrupt(number)


@contextmanager
def signals_blocked(numbers: Collection[int] = _SIGNALS) -> Iterator[None]:
    """Make processes that are started meanwhile ignore signals, SIGINT and SIGTERM; this one gets them, if later.

    Windows cannot block signals: there they are not ignored.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
