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

    Where that would leave one voxel at the network's deepest level, over which no norm can be taken, there are two.

    Args:
        x: input of any size.
        multiples: of which each of its axes has to be one, voxels or pixels: as much of it becomes one voxel at the
            deepest level.
        net: whose result is as large as its input.

    Example:
        >>> import torch
        >>> in_multiples(torch.ones(1, 1, 3, 5), (2, 4), lambda x: torch.cat([x, x], dim=1)).shape
        torch.Size([1, 2, 3, 5])
    """
    size = x.shape[2:]
    lacking = [-n % multiple for n, multiple in zip(size, padded_multiples(size, multiples), strict=True)]
    if any(lacking):
        # From the last axis on, and at its end only.
        x = F.pad(x, [amount for n in reversed(lacking) for amount in (0, n)])
    return net(x)[(slice(None), slice(None), *(slice(n) for n in size))]


def padded_multiples(size: Sequence[int], multiples: Sequence[int]) -> tuple[int, ...]:
    """Return the multiples, the last one doubled if they would leave a single voxel at the network's deepest level.

    Axes with a multiple of 1, which the network does not halve, do not count, so
    that the slices of a 2D network are padded alike whatever their number.

    Args:
        size: of the input.
        multiples: of which each of its axes has to be one: as much of it becomes one voxel at the deepest level.

    Example:
        >>> padded_multiples((5, 16, 3), (16, 16, 16))
        (16, 16, 32)
        >>> padded_multiples((5, 17, 3), (16, 16, 16))
        (16, 16, 16)
    """
    *first, last = multiples
    single = all(n <= multiple for n, multiple in zip(size, multiples, strict=True) if multiple > 1)
    return (*first, 2 * last if single else last)
