"""What Windows or macOS lack is missed where it is needed, if at all, and not at import."""

import subprocess
import sys

import pytest

from support import poorer_system


@pytest.mark.slow
def test_every_module_can_be_imported_on_a_system_that_lacks_a_lot() -> None:
    done = subprocess.run([sys.executable, poorer_system.__file__], capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("", 0), done.stdout + done.stderr[-3000:]
