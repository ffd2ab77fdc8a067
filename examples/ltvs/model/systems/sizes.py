"""Any input size for a network that halves its maps and needs whole halves."""

from collections.abc import Callable, Sequence

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def in_multiples(
    x: Float[Tensor, "b c *size"],
    multiples: Sequence[int],
    net: Callable[[Float[Tensor, "b c *padded"]], Float[Tensor, "b k *padded"]],
) -> Float[Tensor, "b k *size"]:
    """Call a network with its input padded by zeros to multiples, and cut its result to the input's size.

    Args:
        x: input of any size.
        multiples: of which each of its axes has to be one, voxels or pixels.
        net: whose result is as large as its input.

    Example:
        >>> import torch
        >>> in_multiples(torch.ones(1, 1, 3, 5), (2, 4), lambda x: torch.cat([x, x], dim=1)).shape
        torch.Size([1, 2, 3, 5])
    """
    size = x.shape[2:]
    lacking = [-n % multiple for n, multiple in zip(size, multiples, strict=True)]
    if any(lacking):
        # From the last axis on, and at its end only.
        x = F.pad(x, [amount for n in reversed(lacking) for amount in (0, n)])
    return net(x)[(..., *(slice(n) for n in size))]
