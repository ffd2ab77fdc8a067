"""The Triton passes: in Triton's interpreter, compiled without a GPU, and on a GPU where there is one.

Each in a process of its own, since the interpreter is chosen before Triton is imported.
"""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import crossattn3d
from support import SUPPORT

GROUPS = ("reduce", "apply", "reduce_backward", "apply_backward", "attention", "offsets", "supports")

pytestmark = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed")


def run(script: str, argument: str, **environment: str) -> str:
    paths = [
        str(Path(crossattn3d.__file__).parents[1]),
        str(SUPPORT.parent),
        *filter(None, [os.environ.get("PYTHONPATH")]),
    ]
    done = subprocess.run(
        [sys.executable, str(SUPPORT / script), argument],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)} | environment,
        timeout=1800,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.parametrize("group", GROUPS)
def test_interpreted(group):
    assert run("triton_cases.py", group, TRITON_INTERPRET="1").startswith(f"{group}: ")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("group", GROUPS)
def test_on_the_gpu(group):
    assert run("triton_cases.py", group, TRITON_INTERPRET="0").startswith(f"{group}: ")


@pytest.mark.slow
@pytest.mark.parametrize("capability", ["80", "90"])
def test_compiles_for_gpus_that_are_not_there(capability, tmp_path):
    done = run("triton_compiled.py", capability, TRITON_INTERPRET="0", TRITON_CACHE_DIR=str(tmp_path))
    assert done.startswith(f"compiled for {capability}: ")
