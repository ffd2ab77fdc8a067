"""Learned positions of tokens, for maps of any size."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

#: Tokens along each axis that positions are learned for: slices of 320x320 pixels, tokens of 16x16.
GRID = (20, 20)


def resized(positions: Float[Tensor, "1 c gh gw"], size: tuple[int, int]) -> Float[Tensor, "1 c h w"]:
    """Return positions at another grid, linearly between them; the corners stay the corners.

    Example:
        >>> resized(torch.tensor([[[[0.0, 2.0]]]]), (1, 3))
        tensor([[[[0., 1., 2.]]]])
    """
    if positions.shape[2:] == size:
        return positions
    return F.interpolate(positions, size, mode="bilinear", align_corners=True)


class LearnedPositions(nn.Module):
    """Adds what was learned for each position to a map of tokens.

    Args:
        channels: width of the map.

    Example:
        >>> LearnedPositions(6)(torch.zeros(2, 6, 4, 5)).shape
        torch.Size([2, 6, 4, 5])
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.map = nn.Parameter(nn.init.trunc_normal_(torch.empty(1, channels, *GRID), std=0.02))

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """Add the positions, resized to the map's grid."""
        h, w = x.shape[2:]
        return x + resized(self.map, (h, w))
