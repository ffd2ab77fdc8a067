"""A 2D network for volumes: it sees the slices as a batch."""

from collections.abc import Callable

from einops import rearrange
from jaxtyping import Float
from torch import Tensor


def slice_by_slice(
    x: Float[Tensor, "b c d h w"], net: Callable[[Float[Tensor, "n c h w"]], Float[Tensor, "n k h w"]]
) -> Float[Tensor, "b k d h w"]:
    """Call a 2D network with the slices of all volumes as one batch.

    Example:
        >>> import torch
        >>> slice_by_slice(torch.ones(2, 1, 3, 4, 5), lambda x: torch.cat([x, x], dim=1)).shape
        torch.Size([2, 2, 3, 4, 5])
    """
    return rearrange(net(rearrange(x, "b c d h w -> (b d) c h w")), "(b d) k h w -> b k d h w", b=x.shape[0])
