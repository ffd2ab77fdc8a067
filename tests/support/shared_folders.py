"""Folders that are expensive to fill, filled once for all processes of a test run."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock


def shared_folder(factory: pytest.TempPathFactory, name: str, fill: Callable[[Path], object]) -> Path:
    """Return a folder that `fill` has filled; tests that would change it copy it first.

    The base folders of the pytest-xdist workers lie in one folder of the test run, and so does the shared folder.
    """
    base = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent
    folder, whole = base / f"shared {name}", base / f"shared {name}.whole"
    with FileLock(base / f"shared {name}.lock"):
        if not whole.exists():
            # Leftovers of a failed attempt would hide its error behind another one.
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            fill(folder)
            whole.touch()
    return folder
