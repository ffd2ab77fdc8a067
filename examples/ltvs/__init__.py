"""The liver-tumor-vessel pipeline: everything the command lines in `examples/` share."""

import os
import sys
from types import TracebackType

# Set before torch is loaded, whose threads otherwise spin while they wait: where workers share the cores with them, a
# training step on the CPU takes several times as long.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def _print_interrupted(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print one word, not a traceback, for Ctrl-C during imports, before a command line can catch it."""
    if issubclass(kind, KeyboardInterrupt):
        print("interrupted", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


sys.excepthook = _print_interrupted
