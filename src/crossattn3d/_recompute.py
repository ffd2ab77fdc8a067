"""Activation checkpointing: less memory for more time, with batch statistics that count every batch once."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, cast

import torch
import torch.utils.checkpoint
from torch import Tensor, nn


# torch.compile cannot follow `context_fn`: it compiles what lies between the blocks.
@torch.compiler.disable  # type: ignore[untyped-decorator]
def recomputed(function: Callable[..., Tensor], modules: Sequence[nn.Module], *inputs: Tensor) -> Tensor:
    """`function(*inputs)`, of which the backward pass keeps the inputs alone and computes the rest again.

    Args:
        function: deterministic.
        modules: what it runs; batch normalization in them is left as the first time has left it.
        inputs: maps.
    """
    result = torch.utils.checkpoint.checkpoint(
        function, *inputs, use_reentrant=False, context_fn=lambda: (nullcontext(), _StatisticsKept(modules))
    )
    return cast("Tensor", result)


@contextmanager
def input_recomputed(x: Tensor, again: Callable[[], Tensor]) -> Iterator[None]:
    """Within, layers that need `x` for their backward pass keep how to compute it, in place of the map itself.

    Args:
        x: what they are called with, alive within.
        again: gives the same map again, without side effects.
    """
    # Not the map itself, which would then live as long as what is kept.
    address, shape, device = x.data_ptr(), x.shape, x.device.type
    autocast = torch.autocast(device, torch.get_autocast_dtype(device), torch.is_autocast_enabled(device))

    def pack(saved: Tensor) -> Any:
        return compute if saved.data_ptr() == address and saved.shape == shape else saved

    def compute() -> Tensor:
        with torch.no_grad(), autocast:
            return again()

    def unpack(kept: Any) -> Tensor:
        return kept if isinstance(kept, Tensor) else kept()

    with torch.autograd.graph.saved_tensors_hooks(pack, unpack):
        yield


class _StatisticsKept:
    """Batch normalization that computes as ever and adds nothing to its running means, variances and count.

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
        for norm, (momentum, counted) in zip(self.norms, self.before, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, counted
