"""The modes of PyTorch that a call may run in: autocast, traces, transforms of functions, forward-mode derivatives."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad


def without_autocast(x: Tensor) -> AbstractContextManager[Any]:
    """Return a context in which operations on the device of `x` keep its dtype."""
    return nullcontext() if x.is_meta else torch.autocast(x.device.type, enabled=False)


def is_traced() -> bool:
    """Return whether `torch.jit.trace` writes down what runs now."""
    return not torch.compiler.is_compiling() and torch._C._get_tracing_state() is not None


def untraced() -> AbstractContextManager[Any]:
    """Return a context that `torch.jit.trace` does not look into: there, sizes are numbers and not tensors."""
    return _untraced() if is_traced() else nullcontext()


@contextmanager
def _untraced() -> Iterator[None]:
    state = torch._C._get_tracing_state()
    torch._C._set_tracing_state(None)  # type: ignore[attr-defined]
    try:
        yield
    finally:
        torch._C._set_tracing_state(state)  # type: ignore[attr-defined]


def is_recorded(x: Any) -> bool:
    """Return whether PyTorch writes down the operations on `x`: `torch.jit.trace`, `make_fx` or `torch.fx` do."""
    proxies = torch._C._get_dispatch_mode(torch._C._TorchDispatchModeKey.PROXY)
    return is_traced() or proxies is not None or isinstance(x, torch.fx.Proxy)


def is_dispatched(*tensors: Tensor) -> bool:
    """Return whether Python code takes the place of PyTorch's kernels: that of a mode, or of a tensor's own class.

    FakeTensorMode and FlopCounterMode are such modes, which know PyTorch's convolutions but not `mkldnn_convolution`.
    """
    return torch._C._len_torch_dispatch_stack() > 0 or any(map(is_python_tensor, tensors))


def is_python_tensor(x: Tensor) -> bool:
    """Return whether operations on `x` run in Python, as for those of `FakeTensorMode`."""
    return torch._C._dispatch_keys(x).has(torch._C.DispatchKey.Python)


def is_transforming() -> bool:
    """Return whether `torch.func` transforms what runs now."""
    active: bool = torch._C._are_functorch_transforms_active()
    return active


def is_transformed(*tensors: Tensor) -> bool:
    """Return whether PyTorch has to look into an operation on these tensors.

    That is so if one of them is inside a transform of `torch.func`, has a tangent, or stands for several, as gradients
    do with `is_grads_batched`. The tensors decide and not the modes, so that a map computed again comes out the same
    way, and what another thread does has no effect.
    """
    if torch.compiler.is_compiling():  # which cannot look at the tensors
        return is_transforming() or forward_ad._current_level >= 0
    functorch, dual = torch._C._functorch, forward_ad._current_level >= 0
    return any(
        functorch.is_functorch_wrapped_tensor(x)
        or functorch.is_legacy_batchedtensor(x)
        or (dual and forward_ad.unpack_dual(x).tangent is not None)  # type: ignore[no-untyped-call]
        for x in tensors
    )
