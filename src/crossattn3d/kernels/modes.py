"""The modes of PyTorch that a call may run in: autocast, transforms of functions, forward-mode differentiation."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad


def without_autocast(x: Tensor) -> AbstractContextManager[Any]:
    """Return a context in which operations on the device of `x` keep its dtype."""
    return nullcontext() if x.is_meta else torch.autocast(x.device.type, enabled=False)


def is_transformed(*tensors: Tensor) -> bool:
    """Return whether PyTorch looks into operations now, for `torch.func`, forward-mode differentiation or a batch.

    Args:
        tensors: to look at, too: a gradient stands for several with `is_grads_batched`.
    """
    active: bool = torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0
    return active or any(map(torch._C._functorch.is_legacy_batchedtensor, tensors))
