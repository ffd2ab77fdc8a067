"""A command run as a process of its own, with the most memory that it held."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks import ROOT
from ltvs.runtime.errors import InputError

#: Linux counts a process from the size of the one that started it: this one is small, whatever ours has held.
_START = """
import os, subprocess, sys
child = subprocess.Popen(sys.argv[2:])
_, status, usage = os.wait4(child.pid, 0)
with open(sys.argv[1], "w") as file:
    file.write(str(usage.ru_maxrss))
sys.exit(status != 0)
"""


def peak_and_output(script: str, arguments: Sequence[str]) -> tuple[int, str]:
    """Run Python with `arguments`; return the most bytes that it held, with everything it loaded, and what it printed.

    Args:
        script: what it is called in messages.
        arguments: of the interpreter.

    Raises:
        InputError: it fails.
        RuntimeError: the system does not say what a child has held.
    """
    if not hasattr(os, "wait4"):
        raise RuntimeError(f"peak_and_output: expected a system that says what a child has held; got {sys.platform}")
    with tempfile.TemporaryDirectory() as folder:
        held = Path(folder) / "held"
        command = [sys.executable, "-c", _START, str(held), sys.executable, *arguments]
        # `-m benchmarks...` is found from any folder, and paths may be relative.
        paths = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        found = os.environ | {"PYTHONPATH": paths}
        done = subprocess.run(command, capture_output=True, text=True, env=found, check=False)
        if done.returncode:
            raise InputError(f"{script} failed: {done.stderr.strip().removeprefix('error: ')}")
        # In KiB, but on macOS in bytes.
        return int(held.read_text()) * (1 if sys.platform == "darwin" else 1024), done.stdout
