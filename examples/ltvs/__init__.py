"""The liver-tumor-vessel pipeline: everything the command lines in `examples/` share."""

import os
import sys
from types import TracebackType

# Before torch is loaded: its threads otherwise spin while they wait, and where workers share the cores with them a
# training step on the CPU takes several times as long.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def _word_for_ctrl_c(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """One word, not a traceback, for Ctrl-C in the seconds that imports take, before a command line can catch it."""
    if issubclass(kind, KeyboardInterrupt):
        print("interrupted", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


sys.excepthook = _word_for_ctrl_c
