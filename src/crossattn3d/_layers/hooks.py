"""Whether a layer may be computed without being called: not if something hooks, wraps, patches or replaces it."""

import torch
from torch import nn

_GLOBAL_HOOKS = tuple(
    getattr(torch.nn.modules.module, f"_global_{kind}_hooks")
    for kind in ("forward_pre", "forward", "backward_pre", "backward")
)


def is_plain(layer: nn.Module, kind: type[nn.Module]) -> bool:
    """Return whether a layer is of this very class, with neither hooks nor a `forward` of its own.

    Parametrizations and wrappers change the class, and whoever replaces a layer brings another one.
    """
    patched = "forward" in layer.__dict__ or "_conv_forward" in layer.__dict__
    return type(layer) is kind and not patched and not has_hooks(layer)


def has_hooks(*modules: nn.Module) -> bool:
    """Return whether hooks wait for one of these modules to be called, or for any module."""
    return _have_global_hooks() or any(
        m._forward_hooks or m._forward_pre_hooks or m._backward_hooks or m._backward_pre_hooks for m in modules
    )


def _have_global_hooks() -> bool:
    """Return whether hooks wait for any module to be called; those of PyTorch's own trackers only note where it is."""
    if torch.compiler.is_compiling():  # which refuses them itself
        return False
    hooks = [hook for of_kind in _GLOBAL_HOOKS for hook in of_kind.values()]
    return any(not type(getattr(hook, "__self__", None)).__module__.startswith("torch.") for hook in hooks)
