"""Excludes from the doctests what cannot be imported: scripts of test_triton.py, and Triton kernels without Triton."""

from importlib.util import find_spec

collect_ignore_glob = ["tests/support/triton_*.py"]
if find_spec("triton") is None:
    collect_ignore_glob += ["src/crossattn3d/kernels/triton/*.py"]
