"""Tasks for worker processes that do not end by themselves."""

import os
import time
from pathlib import Path


def write_then_wait(path: Path) -> None:
    path.write_text(str(os.getpid()))
    time.sleep(60)
