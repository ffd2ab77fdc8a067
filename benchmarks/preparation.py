"""The command `prepare_ltvs.py` as a call."""

import contextlib
import io
from typing import Any

from prepare_ltvs import PrepareSettings
from prepare_ltvs import main as prepare


def prepare_silently(**settings: Any) -> None:
    """Prepare as the command does, in one process and without its output."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        prepare(PrepareSettings(workers=1, **settings))
