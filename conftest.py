"""Excludes from the doctests what cannot be imported: scripts of test_triton.py, nnU-Net's trainers, and all that
imports Triton without Triton.
"""

from importlib.util import find_spec

collect_ignore_glob = ["tests/support/triton_*.py", "examples/nnunet/*.py"]
if find_spec("triton") is None:
    collect_ignore_glob += ["src/crossattn3d/kernels/triton/*.py", "benchmarks/gpu_*.py"]
