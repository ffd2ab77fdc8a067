"""The transformer in UCTransNet's skips: the channels of all scales attend to each other."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from ltvs.model.systems.parts.positions import LearnedPositions

#: Of layer norms, and of the norm of the scores.
EPS, NORM_EPS = 1e-6, 1e-5


class ChannelAttention(nn.Module):
    """The channels of each scale attend to those of all scales.

    Each head has queries, keys and values of the full width, and the mean over the heads is projected. Scores are
    normalized over each head's whole matrix: softmax((Q K^T - mean) / deviation) V. Softmax ignores a constant that is
    subtracted from all scores, and the deviation is a factor of the queries, so that PyTorch's fused attention applies.

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
        keys = self._of_heads(self.key(joined)) / math.sqrt(joined.shape[2])
        values = self._of_heads(self.value(joined))
        taken = []
        for x, query, out in zip(scales, self.queries, self.outs, strict=True):
            queries = self._of_heads(query(x))
            deviation = (score_variance(queries, keys) + NORM_EPS).sqrt()
            of_heads = F.scaled_dot_product_attention(queries / deviation[..., None, None], keys, values, scale=1.0)
            taken.append(out(of_heads.mean(dim=1).mT))
        return taken

    def _of_heads(self, x: Float[Tensor, "n t hc"]) -> Float[Tensor, "n heads c t"]:
        # Contiguous, or PyTorch would make the matrix of scores after all.
        return rearrange(x, "n t (heads c) -> n heads c t", heads=self.heads).contiguous()


def score_variance(queries: Float[Tensor, "*b i t"], keys: Float[Tensor, "*b j t"]) -> Float[Tensor, "*b"]:
    r"""Return the variance of all scores $q_i \cdot k_j$.

    With $q_i = \bar q + q'_i$ and $k_j = \bar k + k'_j$ it is the mean of $(\bar q \cdot k'_j)^2$, plus that of
    $(q'_i \cdot \bar k)^2$, plus that of $(q'_i \cdot k'_j)^2$: nothing is subtracted, so that no digit is lost.

    Example:
        >>> q, k = torch.tensor([[1.0], [3.0]]), torch.tensor([[2.0], [4.0], [6.0]])
        >>> score_variance(q, k), (q @ k.T).var(correction=0)
        (tensor(29.3333), tensor(29.3333))
    """
    q, k = queries.mean(dim=-2, keepdim=True), keys.mean(dim=-2, keepdim=True)
    dq, dk = queries - q, keys - k
    of_keys, of_queries = (dk @ q.mT).square().mean(dim=(-2, -1)), (dq @ k.mT).square().mean(dim=(-2, -1))
    i, j, t = dq.shape[-2], dk.shape[-2], dq.shape[-1]
    # Of two ways to the same sum, that through the smaller matrices: the products of all tokens, or the scores.
    both = (dq.mT @ dq) * (dk.mT @ dk) if t**2 < i * j else (dq @ dk.mT).square()
    return of_keys + of_queries + both.sum(dim=(-2, -1)) / (i * j)


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
