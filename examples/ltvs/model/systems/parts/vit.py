"""The encoder of a vision transformer: every token attends to all others."""

from typing import cast

import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from ltvs.model.systems.parts.resnet_v2 import EPS


class SelfAttention(nn.Module):
    """Multi-head attention of tokens to each other.

    Args:
        width: of a token.
        heads: that share the width.

    Example:
        >>> import torch
        >>> SelfAttention(12, heads=3)(torch.zeros(1, 5, 12)).shape
        torch.Size([1, 5, 12])
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query_key_value = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Float[Tensor, "n t c"]) -> Float[Tensor, "n t c"]:
        """Return what the tokens take from each other."""
        q, k, v = rearrange(
            self.query_key_value(x), "n t (three heads c) -> three n heads t c", three=3, heads=self.heads
        )
        taken = F.scaled_dot_product_attention(q, k, v)
        return cast("Tensor", self.out(rearrange(taken, "n heads t c -> n t (heads c)")))


class Block(nn.Module):
    """Attention and two linear layers, each of normalized tokens and added to them.

    Args:
        width: of a token.
        heads: of the attention.
        hidden: width between the two linear layers.

    Example:
        >>> import torch
        >>> Block(12, heads=3, hidden=24)(torch.zeros(1, 5, 12)).shape
        torch.Size([1, 5, 12])
    """

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, EPS)
        self.attention = SelfAttention(width, heads)
        self.norm2 = nn.LayerNorm(width, EPS)
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))

    def forward(self, x: Float[Tensor, "n t c"]) -> Float[Tensor, "n t c"]:
        """Return the tokens after both."""
        x = x + self.attention(self.norm1(x))
        return cast("Tensor", x + self.mlp(self.norm2(x)))


class TransformerEncoder(nn.Sequential):
    """Blocks and a last normalization; its defaults are ViT-B's.

    Args:
        width: of a token.
        heads: of each attention.
        hidden: width between the two linear layers of a block.
        blocks: how many.

    Example:
        >>> import torch
        >>> TransformerEncoder(12, heads=3, hidden=24, blocks=2)(torch.zeros(1, 5, 12)).shape
        torch.Size([1, 5, 12])
    """

    def __init__(self, width: int = 768, heads: int = 12, hidden: int = 3072, blocks: int = 12) -> None:
        super().__init__(*(Block(width, heads, hidden) for _ in range(blocks)), nn.LayerNorm(width, EPS))
