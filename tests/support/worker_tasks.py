"""Tasks for worker processes: three fail in different ways, one waits. Every worker imports this, so it is light."""

import os
from pathlib import Path
from typing import NoReturn

from ltvs.runtime.errors import InputError
from support.faults import fault


def not_usable() -> NoReturn:
    raise InputError("liver and CT are of two patients")


def with_a_bug() -> NoReturn:
    raise IndexError("list index\nout of range")


def ends_the_process() -> NoReturn:
    os._exit(3)


def unpicklable() -> object:
    return lambda: None


def write_then_fault(path: Path, name: str) -> None:
    path.write_text(str(os.getpid()))
    fault(name)


def write_then_wait(path: Path) -> None:
    write_then_fault(path, "stuck")
