"""Folders of small patients that many tests write: written once in a process, then copied."""

import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

_TEMPLATES = TemporaryDirectory(prefix="patients-")


@cache
def _template(write: Callable[..., object], *arguments: object) -> Path:
    folder = Path(_TEMPLATES.name) / str(_template.cache_info().misses)
    write(folder, *arguments)
    return folder


def copy_of(folder: Path, write: Callable[..., object], *arguments: object) -> None:
    """Fill `folder` as `write(folder, *arguments)` would, with a copy of what the first such call has written."""
    shutil.copytree(_template(write, *arguments), folder, dirs_exist_ok=True)
