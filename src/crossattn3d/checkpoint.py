"""Activation checkpointing: less memory for more time, with batch statistics that count every batch once."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import cast

import torch.utils.checkpoint
from torch import Tensor, nn


def recomputed(function: Callable[..., Tensor], modules: Sequence[nn.Module], *inputs: Tensor) -> Tensor:
    """`function(*inputs)`, of which the backward pass keeps the inputs alone and computes the rest again.

    Args:
        function: deterministic.
        modules: what it runs; batch normalisation in them is left as the first time has left it.
        inputs: maps.
    """
    result = torch.utils.checkpoint.checkpoint(
        function, *inputs, use_reentrant=False, context_fn=lambda: (nullcontext(), _statistics_kept(modules))
    )
    return cast("Tensor", result)


@contextmanager
def _statistics_kept(modules: Sequence[nn.Module]) -> Iterator[None]:
    """Batch normalisation that computes as ever and adds nothing to its running means, variances and count."""
    norms = [m for module in modules for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    before = [(norm, norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm, _, counted in before:
        # Not track_running_stats, without which the layer would save other tensors than the first time.
        norm.momentum = 0.0
        norm.num_batches_tracked = None if counted is None else counted.clone()
    try:
        yield
    finally:
        for norm, momentum, counted in before:
            norm.momentum, norm.num_batches_tracked = momentum, counted
