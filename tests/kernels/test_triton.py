"""The Triton passes: in Triton's interpreter, compiled without a GPU, and on a GPU where there is one.

They run in other processes, since the interpreter is chosen before Triton is imported.
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
ON_GPU = (*GROUPS, "sizes", "large_batch")

pytestmark = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed")


#: Groups that share a process, since importing PyTorch and Triton takes as long as a small group.
SHARED = (("reduce", "apply", "reduce_backward", "offsets", "supports"), ("apply_backward", "attention"))


def run(script: str, *arguments: str, **environment: str) -> str:
    paths = [
        str(Path(crossattn3d.__file__).parents[1]),
        str(SUPPORT.parent),
        *filter(None, [os.environ.get("PYTHONPATH")]),
    ]
    done = subprocess.run(
        [sys.executable, str(SUPPORT / script), *arguments],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)} | environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.parametrize("groups", SHARED, ids=" ".join)
@pytest.mark.parametrize("every", ["4", pytest.param("1", marks=pytest.mark.slow)])
def test_interpreted(every, groups):
    """Every fourth case, the slower test all of them: all dtypes and most formats and variants are in both."""
    lines = run("triton_cases.py", *groups, TRITON_INTERPRET="1", EVERY=every).splitlines()
    assert [line.partition(": ")[0] for line in lines] == list(groups)


@pytest.mark.parametrize("group", ["launches", "traffic", "auto"])
def test_plans(group):
    """Few launches beside the two kernels, few maps moved; `auto` takes Triton where it is right."""
    assert run("triton_plans.py", group, TRITON_INTERPRET="1").startswith(f"{group}: ")


def test_every_group_is_interpreted():
    assert sorted(sum(SHARED, ())) == sorted(GROUPS)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("group", ON_GPU)
def test_on_the_gpu(group):
    assert run("triton_cases.py", group, TRITON_INTERPRET="0").startswith(f"{group}: ")


@pytest.mark.slow
@pytest.mark.parametrize("capability", ["80", "90"])
def test_compiles_for_gpus_that_are_not_there(capability, tmp_path):
    done = run("triton_compiled.py", capability, TRITON_INTERPRET="0", TRITON_CACHE_DIR=str(tmp_path))
    assert done.startswith(f"compiled for {capability}: ")
