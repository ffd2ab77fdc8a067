"""The liver-tumor-vessel pipeline: everything the command lines in `examples/` share."""

import os
import sys
from types import TracebackType

# Set before torch is loaded, whose threads otherwise spin while they wait: where workers share the cores with them, a
# training step on the CPU takes several times as long.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def print_error(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print one line, not a traceback, for Ctrl-C or a missing library during imports, before a command can catch it.

    Raises:
        SystemExit: 2, for a missing library.
    """
    if issubclass(kind, KeyboardInterrupt):
        print("interrupted", file=sys.stderr)
        return
    if isinstance(error, ModuleNotFoundError):
        from ltvs.runtime.extras import missing_line

        if line := missing_line(error):
            print(f"error: {line}", file=sys.stderr)
            sys.exit(2)
    sys.__excepthook__(kind, error, trace)


sys.excepthook = print_error
