"""The precision that networks compute in; weights, losses and probabilities are float32 whatever it is."""

import math
from typing import Literal, get_args

import torch

from ltvs.errors import InputError

Precision = Literal["float32", "bfloat16"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)


def computing_in(precision: Precision, device: torch.device) -> torch.autocast:
    """A context in which layers compute in `precision`: as they are, or in bfloat16 where that is safe.

    Args:
        precision: `bfloat16` is PyTorch's autocast; it needs no scaling of the loss, as float16 would.
        device: where the network is.
    """
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")


def check_precision(precision: Precision, device: str, depth: int, levels: int) -> None:
    """Raise InputError where bfloat16 would give wrong gradients without a word.

    On CPU, PyTorch 2.13 takes the gradient of a convolution's weights from memory nobody has written where a bfloat16
    map is two slices deep.

    Args:
        precision: to compute in.
        device: where.
        depth: of the patches, slices.
        levels: of the network, each half as deep as the one before, rounded up.
    """
    if precision == "bfloat16" and torch.device(device).type == "cpu":
        depths = [math.ceil(depth / 2**level) for level in range(levels)]
        if 2 in depths:
            raise InputError(
                f"--precision bfloat16: on CPU no level of the network may be 2 slices deep, where PyTorch's gradients "
                f"are wrong; got {depths} slices for a patch of {depth}; take deeper patches, or float32"
            )
