"""The choice of the code that computes: what was asked for, or on `auto` the fastest that can run here."""

import logging
import os
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any, cast

from torch import Tensor

from crossattn3d.kernels import torch_pass
from crossattn3d.kernels.cpp import run as cpp
from crossattn3d.kernels.derivative import Implementation
from crossattn3d.kernels.parameters import BACKENDS, Attention, Backend

logger = logging.getLogger("crossattn3d")

TORCH, CPP = Implementation(torch_pass.run_pass), Implementation(cpp.run_pass, run_gated_pass=cpp.run_pass)
#: Values of a map from which on `auto` takes C++: for a smaller one, compiling it would not be worth the wait.
LARGE = 2**18
#: Environment variable with the name of a backend that is taken in place of `auto`, and its value at the import:
#: torch.compile does not follow changes.
VARIABLE = "CROSSATTN3D_BACKEND"
IN_PLACE_OF_AUTO = os.environ.get(VARIABLE, "")


def backend_of(chosen: Backend) -> Backend:
    """Return the chosen backend. In place of `auto`, return the one that CROSSATTN3D_BACKEND names, if it names any.

    Args:
        chosen: a backend.

    Raises:
        ValueError: there is no such backend, or the variable names none.

    Examples:
        >>> backend_of("torch")
        'torch'
    """
    if chosen not in BACKENDS:
        raise ValueError(f"backend: expected {', '.join(BACKENDS)}; got {chosen!r}; give one of these")
    if chosen != "auto" or not IN_PLACE_OF_AUTO:
        return chosen
    if IN_PLACE_OF_AUTO not in BACKENDS:
        raise ValueError(
            f"{VARIABLE}: expected {', '.join(BACKENDS)} or nothing; got {IN_PLACE_OF_AUTO!r}; unset or correct it"
        )
    return IN_PLACE_OF_AUTO


def implementation(attention: Attention, u: Tensor, e: Tensor) -> Implementation:
    """Return what computes an attention, by another backend than `reference`, of maps like these.

    Args:
        attention: with the backend.
        u: decoder map.
        e: encoder map.

    Raises:
        ValueError: the backend cannot compute with them here.
    """
    backend = attention.backend
    if backend == "auto":
        backend = _fastest(attention, u, e)
        logger.debug("auto: %s for maps of %s and %s on %s", backend, tuple(u.shape), tuple(e.shape), u.device)
    elif backend != "torch" and (reason := unsupported_reason(backend, u, e)) is not None:
        unset = f", and unset {VARIABLE}" if backend == IN_PLACE_OF_AUTO else ""
        raise ValueError(
            f"{backend}: expected maps and a machine that it can run on; got {reason}; use backend='auto'{unset}"
        )
    if backend == "torch":
        return TORCH
    return CPP if backend == "cpp" else cast("Implementation", _triton().TRITON)


def unsupported_reason(backend: str, u: Tensor, e: Tensor) -> str | None:
    """Return why `cpp` or `triton` cannot compute with maps like these here; None if it can."""
    module = _triton() if backend == "triton" else cpp
    if isinstance(module, str):
        return module
    reason: str | None = module.unsupported_reason(u, e)
    return reason


@cache
def _triton() -> Any:
    """Return the module that makes the passes in Triton, or in a word why it cannot be imported."""
    if find_spec("triton") is None:
        return "Triton is not installed"
    try:
        return import_module("crossattn3d.kernels.triton.run")
    except Exception as error:
        logger.warning("Triton cannot be imported: %s: %s", type(error).__name__, error)
        return f"Triton cannot be imported ({type(error).__name__})"


def _fastest(attention: Attention, u: Tensor, e: Tensor) -> Backend:
    """Return C++ for large maps on a CPU, Triton on a GPU where it has passed its check, and else PyTorch."""
    if u.is_cuda and unsupported_reason("triton", u, e) is None:
        # Imported where it is used, as it imports Triton.
        check = import_module("crossattn3d.kernels.triton.check")
        return "triton" if check.is_right_for(u, e, attention.score_norm) else "torch"
    large = u.is_cpu and max(u.numel(), e.numel()) >= LARGE
    return "cpp" if large and unsupported_reason("cpp", u, e) is None else "torch"
