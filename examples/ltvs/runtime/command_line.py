"""The frame of every command line: settings parsed into a dataclass, and errors printed as one line."""

import dataclasses
import inspect
import signal
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import SimpleITK as sitk
import tyro

from ltvs.runtime.errors import InputError
from ltvs.runtime.extras import require_extra
from ltvs.runtime.interrupts import Terminated

Settings = TypeVar("Settings")


def run(main: Callable[[Settings], None], settings: type[Settings]) -> None:
    """Parse the command line into `settings`, call `main`, and exit: 0 done, 2 bad input, 130 or 143 interrupted."""
    if not dataclasses.is_dataclass(settings):
        raise TypeError(f"command_line.run: expected a dataclass, got {settings!r}")
    parsed: Any = tyro.cli(settings, description=inspect.getdoc(main))
    # Where a warning of ITK matters, the code raises its own one-line error.
    sitk.ProcessObject.GlobalWarningDisplayOff()
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        require_extra("ltvs")
        main(parsed)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except Terminated:
        print("terminated", file=sys.stderr)
        sys.exit(128 + signal.SIGTERM)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)
    finally:
        signal.signal(signal.SIGTERM, before)


def _terminate(*_: object) -> None:
    raise Terminated
