"""Recomputing maps in the backward pass: less memory for more time, with batch statistics updated once per batch."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import cast

import torch
from torch import Tensor, nn

from crossattn3d.kernels.modes import is_python_tensor, is_recorded, is_transformed, is_transforming


def checkpoint(function: Callable[..., Tensor], modules: Sequence[nn.Module], *inputs: Tensor) -> Tensor:
    """Return `function(*inputs)`, keeping only the inputs for the backward pass, which recomputes the rest.

    Args:
        function: deterministic.
        modules: the modules it calls; recomputing does not update the running statistics of their batch normalization.
        inputs: maps.
    """
    # torch.compile cannot trace `context_fn`: it compiles the code between the blocks. Importing the compiler takes as
    # long as importing PyTorch, hence not as a decorator.
    run: Callable[..., Tensor] = _checkpoint
    if torch.compiler.is_compiling():
        run = torch.compiler.disable(_checkpoint)  # type: ignore[no-untyped-call]
    return run(function, modules, *inputs)


def _checkpoint(function: Callable[..., Tensor], modules: Sequence[nn.Module], *inputs: Tensor) -> Tensor:
    if is_transforming() or is_recorded(inputs[0]):  # which checkpoints do not support
        return function(*inputs)
    # Imported where it is used: it brings SymPy or the compiler along, depending on the version of PyTorch.
    from torch.utils.checkpoint import checkpoint as checkpoint_of_pytorch

    result = checkpoint_of_pytorch(
        function, *inputs, use_reentrant=False, context_fn=lambda: (nullcontext(), _FrozenStatistics(modules))
    )
    return cast("Tensor", result)


@contextmanager
def recompute_for_backward(x: Tensor, recompute_input: Callable[[], Tensor]) -> Iterator[None]:
    """Make layers called with `x` in this context save `recompute_input` for their backward pass instead of `x`.

    Args:
        x: their input, kept alive by the caller inside the context.
        recompute_input: returns the same map again, without side effects.
    """
    # Without memory, or with wrappers around it, a map has no address to be known by; another one has no tangent.
    if x.is_meta or is_python_tensor(x) or is_transforming() or is_transformed(x):
        yield
        return
    # Not the map itself, which would then live as long as the graph.
    address, shape, strides, device = x.data_ptr(), x.shape, x.stride(), x.device.type
    autocast = torch.autocast(device, torch.get_autocast_dtype(device), torch.is_autocast_enabled(device))

    def pack(saved: Tensor) -> Tensor | None:
        same = saved.data_ptr() == address and (saved.shape, saved.stride()) == (shape, strides)
        return None if same else saved

    def unpack(kept: Tensor | None) -> Tensor:
        if kept is not None:
            return kept
        with torch.no_grad(), autocast:
            return recompute_input()

    with torch.autograd.graph.saved_tensors_hooks(pack, unpack):
        yield


class _FrozenStatistics:
    """A context in which batch normalization computes as usual but leaves its running statistics and count alone.

    Entered once for every backward pass through a graph, of which there may be several.
    """

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        kind = nn.modules.batchnorm._BatchNorm
        self.norms = [m for module in modules for m in module.modules() if isinstance(m, kind)]
        self.before: list[tuple[float | None, Tensor | None]] = []

    def __enter__(self) -> None:
        self.before = [(norm.momentum, norm.num_batches_tracked) for norm in self.norms]
        for norm in self.norms:
            # Not track_running_stats, without which the layer would save other tensors than the first time.
            norm.momentum = 0.0
            if norm.num_batches_tracked is not None:
                norm.num_batches_tracked = norm.num_batches_tracked.clone()

    def __exit__(self, *error: object) -> None:
        for norm, (momentum, count) in zip(self.norms, self.before, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, count
