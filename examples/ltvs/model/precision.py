"""The precision that networks compute in; weights, losses and probabilities are float32 whatever it is."""

import math
from typing import Literal, get_args

import torch

from ltvs.runtime.errors import InputError

Precision = Literal["32", "bf16-mixed", "16-mixed"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)

_HALF = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


def computing_in(precision: Precision, device: torch.device) -> torch.autocast:
    """A context in which layers compute in `precision`: as they are, or in half precision where that is safe.

    Args:
        precision: `32`, or PyTorch's autocast to bfloat16 (`bf16-mixed`) or float16 (`16-mixed`). In training, float16
            needs the loss scaled as well, which is not done here.
        device: where the network is.
    """
    return torch.autocast(device.type, _HALF.get(precision, torch.bfloat16), enabled=precision in _HALF)


def check_precision(precision: Precision, device: str, depth: int, levels: int) -> None:
    """Raise InputError where half precision would give wrong gradients without a word.

    On CPU, PyTorch 2.13 takes the gradient of a convolution's weights from memory nobody has written where a bfloat16
    map is two slices deep.

    Args:
        precision: to compute in.
        device: where.
        depth: of the patches, slices.
        levels: of the network, each half as deep as the one before, rounded up.
    """
    if precision in _HALF and torch.device(device).type == "cpu":
        depths = [math.ceil(depth / 2**level) for level in range(levels)]
        if 2 in depths:
            raise InputError(
                f"--precision {precision}: on CPU no level of the network may be 2 slices deep, where PyTorch's "
                f"gradients are wrong; got {depths} slices for a patch of {depth}; take deeper patches, or 32"
            )
