"""The transformer in UCTransNet's skips: the channels of all scales attend to each other."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from ltvs.model.systems.positions import LearnedPositions

EPS = 1e-6


class ChannelAttention(nn.Module):
    """The channels of each scale attend to those of all scales.

    Each head has queries, keys and values of the full width, and the mean over the heads is projected. Scores are
    normalized over each head's whole matrix. No matrix has a row and a column for each token.

    Args:
        widths: of the scales.
        heads: how many.

    Example:
        >>> scales = [torch.zeros(1, 4, 2), torch.zeros(1, 4, 3)]
        >>> small, wide = ChannelAttention((2, 3), heads=2)(scales, torch.cat(scales, dim=2))
        >>> small.shape, wide.shape
        (torch.Size([1, 4, 2]), torch.Size([1, 4, 3]))
    """

    def __init__(self, widths: Sequence[int], heads: int) -> None:
        super().__init__()
        self.heads = heads
        total = sum(widths)
        self.queries = nn.ModuleList(nn.Linear(width, heads * width, bias=False) for width in widths)
        self.key = nn.Linear(total, heads * total, bias=False)
        self.value = nn.Linear(total, heads * total, bias=False)
        self.outs = nn.ModuleList(nn.Linear(width, width, bias=False) for width in widths)

    def forward(self, scales: Sequence[Float[Tensor, "n t _"]], joined: Float[Tensor, "n t c"]) -> list[Tensor]:
        """Return what each scale takes from `joined`, the tokens of all scales side by side."""
        keys = rearrange(self.key(joined), "n t (heads c) -> n heads t c", heads=self.heads)
        keys = keys / math.sqrt(joined.shape[2])
        values = rearrange(self.value(joined), "n t (heads c) -> n heads c t", heads=self.heads)
        taken = []
        for x, query, out in zip(scales, self.queries, self.outs, strict=True):
            scores = rearrange(query(x), "n t (heads c) -> n heads c t", heads=self.heads) @ keys
            weights = F.instance_norm(scores).softmax(dim=-1)
            taken.append(out((weights @ values).mean(dim=1).mT))
        return taken


class Block(nn.Module):
    """Channel attention, and two linear layers for each scale, of normalized tokens and added to them.

    Args:
        widths: of the scales.
        heads: of the attention.

    Example:
        >>> [x.shape[2] for x in Block((2, 3), heads=2)([torch.zeros(1, 4, 2), torch.zeros(1, 4, 3)])]
        [2, 3]
    """

    def __init__(self, widths: Sequence[int], heads: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width, EPS) for width in widths)
        self.joined_norm = nn.LayerNorm(sum(widths), EPS)
        self.attention = ChannelAttention(widths, heads)
        self.mlps = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width, EPS), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
            for width in widths
        )

    def forward(self, scales: Sequence[Float[Tensor, "n t _"]]) -> list[Tensor]:
        """Return the tokens of each scale after both."""
        joined = self.joined_norm(torch.cat([*scales], dim=2))
        taken = self.attention([norm(x) for norm, x in zip(self.norms, scales, strict=True)], joined)
        scales = [x + y for x, y in zip(scales, taken, strict=True)]
        return [x + mlp(x) for x, mlp in zip(scales, self.mlps, strict=True)]


class ToMap(nn.Module):
    """Tokens back to a map: 1x1 convolution, batch normalization and ReLU, and each token fills its patch.

    The published net enlarges first. The pixels of a patch are equal then, and mean and variance over them are those
    over the tokens: the result is the same, for a small part of the time and memory. (Running variances take
    n / (n - 1) of the variance of n tokens, instead of pixels.)

    Args:
        channels: width of tokens and map.
        patch: pixels along an axis that a token fills.

    Example:
        >>> ToMap(2, patch=3)(torch.zeros(1, 2, 4, 5)).shape
        torch.Size([1, 2, 12, 15])
    """

    def __init__(self, channels: int, patch: int) -> None:
        super().__init__()
        self.patch = patch
        self.conv = nn.Conv2d(channels, channels, 1)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c hp wp"]:
        """Return the map."""
        return F.interpolate(F.relu(self.norm(self.conv(x))), scale_factor=self.patch, mode="nearest")


class ChannelTransformer(nn.Module):
    """Adds to each of a U-Net's skips what its channels take from the channels of all of them.

    Args:
        widths: of the skips, from the largest map on.
        patches: pixels along an axis that make a token, for each skip; as many tokens for all of them.
        heads: of each attention.
        blocks: how many.

    Example:
        >>> net = ChannelTransformer((2, 3), (4, 2), heads=2, blocks=1)
        >>> [x.shape for x in net([torch.zeros(1, 2, 8, 12), torch.zeros(1, 3, 4, 6)])]
        [torch.Size([1, 2, 8, 12]), torch.Size([1, 3, 4, 6])]
    """

    def __init__(self, widths: Sequence[int], patches: Sequence[int], heads: int = 4, blocks: int = 4) -> None:
        super().__init__()
        self.embeddings = nn.ModuleList(
            nn.Sequential(nn.Conv2d(width, width, patch, stride=patch), LearnedPositions(width))
            for width, patch in zip(widths, patches, strict=True)
        )
        self.blocks = nn.Sequential(*(Block(widths, heads) for _ in range(blocks)))
        self.norms = nn.ModuleList(nn.LayerNorm(width, EPS) for width in widths)
        self.maps = nn.ModuleList(ToMap(width, patch) for width, patch in zip(widths, patches, strict=True))

    def forward(self, skips: Sequence[Float[Tensor, "n _ _ _"]]) -> list[Tensor]:
        """Return the skips, each with what it took."""
        embedded = [embedding(skip) for embedding, skip in zip(self.embeddings, skips, strict=True)]
        h = embedded[0].shape[2]
        scales = self.blocks([rearrange(x, "n c h w -> n (h w) c") for x in embedded])
        taken = [
            to_map(rearrange(norm(x), "n (h w) c -> n c h w", h=h))
            for to_map, norm, x in zip(self.maps, self.norms, scales, strict=True)
        ]
        return [skip + x for skip, x in zip(skips, taken, strict=True)]
