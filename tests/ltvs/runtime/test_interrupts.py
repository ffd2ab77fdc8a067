"""Signals are kept until they suit, a second one is not, and processes started in between never get them."""

import os
import signal
import time

import pytest

from ltvs.runtime.interrupts import Interrupts, Terminated, signals_blocked


@pytest.mark.parametrize(("number", "kind"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Terminated)])
def test_the_first_is_kept_and_the_second_raised(number: int, kind: type) -> None:
    before = signal.getsignal(number)
    with Interrupts() as interrupts:
        interrupts.check()
        signal.raise_signal(number)
        assert interrupts.asked == number
        with pytest.raises(kind) as caught:
            interrupts.check()
        assert type(caught.value) is kind
        with pytest.raises(kind):
            signal.raise_signal(number)
    assert signal.getsignal(number) is before


def test_processes_started_while_signals_are_blocked_do_not_get_them() -> None:
    with Interrupts() as interrupts:
        with signals_blocked():
            child = os.fork()
            if child == 0:
                time.sleep(60)
                os._exit(0)
            os.kill(os.getpid(), signal.SIGTERM)
        os.kill(child, signal.SIGTERM)
        os.kill(child, signal.SIGINT)
        # Now, or a moment later if another thread of the tests has taken it.
        while not interrupts.asked:
            time.sleep(0.01)
        assert interrupts.asked == signal.SIGTERM
        time.sleep(0.05)
        assert os.waitpid(child, os.WNOHANG) == (0, 0), "still there"
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
