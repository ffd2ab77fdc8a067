"""Leaves out of the doctests what cannot be imported here: the Triton kernels where Triton is missing."""

from importlib.util import find_spec

collect_ignore_glob = [] if find_spec("triton") else ["src/crossattn3d/kernels/triton_*.py"]
