"""prepare_ltvs.py that is interrupted in the middle of its first case: `INTERRUPT=INT|TERM MARK=FILE python ...`.

SIGINT goes to every process of its group, as from a terminal; SIGTERM to the process that was started. The case that is
at work then goes on for ever. MARK is a file to create. Every process of the command imports this as its main module.
"""

import os
import signal
import sys
import time
from pathlib import Path

root = Path(__file__).parents[2]
sys.path[:0] = [str(root / folder) for folder in ("src", "examples", "tests")]

from ltvs.dataset import one_case  # noqa: E402


def interrupt(*_: object) -> None:
    """Take the place of the writing of a case, which has a folder by then."""
    try:
        os.close(os.open(os.environ["MARK"], os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        pass
    else:
        if os.environ["INTERRUPT"] == "INT":
            os.killpg(0, signal.SIGINT)
        else:
            os.kill(os.getppid(), signal.SIGTERM)
    while True:
        time.sleep(3600)


# Not where the doctests of this folder are looked for.
if __name__ in ("__main__", "__mp_main__"):
    one_case._write_parts = interrupt

if __name__ == "__main__":
    from ltvs.runtime.command_line import run
    from prepare_ltvs import PrepareSettings, main

    run(main, PrepareSettings)
