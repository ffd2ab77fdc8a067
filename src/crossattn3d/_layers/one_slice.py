"""Convolutions of maps of one slice in bfloat16 on CPUs, which oneDNN gets wrong.

There, in PyTorch 2.13, a kernel that reaches beyond the only slice of a map with an odd number of channels below 17 is
multiplied with memory that nobody has written. Only the middle of the kernel meets that slice, so that it is all that
is needed.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from crossattn3d._checks.nets import Triple
from crossattn3d.kernels.modes import is_recorded


def is_one_bfloat16_slice(x: Tensor) -> bool:
    """Return whether a CPU convolves `x`, of one slice, in bfloat16; False in traces, which hold for any depth."""
    if not torch.compiler.is_compiling() and is_recorded(x):
        return False
    # The size last: a graph that is made for any depth must not ask for it in vain.
    autocast = torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16
    return x.is_cpu and (autocast or x.dtype == torch.bfloat16) and x.ndim >= 4 and x.shape[-3] == 1


def middle_of(weight: Tensor, padding: Sequence[int]) -> tuple[Tensor, Triple]:
    """Return the part of a kernel that meets a map of one slice, and its padding.

    Args:
        weight: of a convolution, (out, in, kd, kh, kw).
        padding: along (d, h, w), kd // 2 slices.
    """
    return weight[:, :, padding[0] : padding[0] + 1], (0, padding[1], padding[2])
