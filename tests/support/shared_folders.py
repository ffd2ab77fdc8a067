"""Folders that take long to fill, made once for all processes of a test run."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock


def shared_folder(factory: pytest.TempPathFactory, name: str, fill: Callable[[Path], object]) -> Path:
    """Return a folder that `fill` has filled; tests copy it where they change something.

    Each process of pytest-xdist has a base folder of its own in that of the run; the shared folder lies in the latter.
    """
    base = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent
    folder, whole = base / f"shared {name}", base / f"shared {name}.whole"
    with FileLock(base / f"shared {name}.lock"):
        if not whole.exists():
            # What a failed attempt has left would make the next one fail for another reason.
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            fill(folder)
            whole.touch()
    return folder
