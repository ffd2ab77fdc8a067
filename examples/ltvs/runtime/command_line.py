"""The frame of every command line: settings parsed into a dataclass, and errors printed as one line."""

import dataclasses
import inspect
import io
import signal
import sys
from collections.abc import Callable
from contextlib import redirect_stderr
from pathlib import Path
from typing import TypeVar

import SimpleITK as sitk
import tyro

from ltvs.runtime.errors import InputError, printable, reason_without_mistake
from ltvs.runtime.extras import require_extra
from ltvs.runtime.interrupts import Terminated
from ltvs.runtime.refused_words import line_of_box

Settings = TypeVar("Settings")


def run(main: Callable[[Settings], None], settings: type[Settings]) -> None:
    """Parse the command line into `settings`, call `main`, and exit: 0 done, 2 bad input, 130 or 143 interrupted."""
    if not dataclasses.is_dataclass(settings):
        raise TypeError(f"command_line.run: expected a dataclass, got {settings!r}")
    # Where a warning of ITK matters, the code raises its own one-line error.
    sitk.ProcessObject.GlobalWarningDisplayOff()
    # Names of files may hold what the encoding of the output lacks.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        settings_given = _parse(settings, inspect.getdoc(main))
        require_extra("ltvs")
        main(settings_given)
    except Exception as error:
        if (reason := reason_without_mistake(error)) is None:
            raise
        print(f"error: {printable(reason)}", file=sys.stderr)
        sys.exit(2)
    except Terminated:
        print("terminated", file=sys.stderr)
        sys.exit(128 + signal.SIGTERM)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)
    finally:
        signal.signal(signal.SIGTERM, before)


def _parse(settings: type[Settings], description: str | None) -> Settings:
    """Return the settings of the command line.

    Raises:
        InputError: words are not understood, or the settings make no sense together. tyro would draw a box around it.
    """
    said = io.StringIO()
    try:
        with redirect_stderr(said):
            parsed = tyro.cli(settings, description=description)
    except SystemExit as ended:
        if not ended.code:
            raise
        if isinstance(ended.__context__, InputError):
            raise ended.__context__ from None
        raise InputError(line_of_box(said.getvalue(), Path(sys.argv[0]).name)) from None
    print(said.getvalue(), end="", file=sys.stderr)
    return parsed


def _terminate(*_: object) -> None:
    raise Terminated
