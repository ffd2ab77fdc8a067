"""Channel-wise attention whose map varies with the place."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from benchmarks.accuracy.skips.adaptive import Adapted, AdaptiveSkip, check_widths, pointwise, widened
from crossattn3d.kernels.parameters import EPS

#: Voxels of a window along each axis, about.
WINDOW = 16
#: Heads, and the least channels of one.
HEADS, LEAST = 4, 4
#: The temperature at first.
SHARPNESS = 4.0


class WindowedChannelAttention(AdaptiveSkip):
    """A static mixture and channel-wise attention by head and by window, interpolated between the windows' centers.

        O = U + Ws E + (M - 1/c) Wv E,   M = softmax(tau cos(Q, K))

    cos is the cosine of the centered channels of a head in a window, c the number of channels of a head.

    Args:
        decoder_channels: width of U.
        encoder_channels: width of E, the same.
    """

    def __init__(self, decoder_channels: int, encoder_channels: int) -> None:
        width = check_widths("WindowedChannelAttention", decoder_channels, encoder_channels)
        super().__init__(width, {"maps": (0, 4, 5, 6)})
        self.heads = heads_of(width)
        self.static = pointwise(width)
        self.to_query, self.to_key, self.to_value = (pointwise(width) for _ in range(3))
        self.sharpness = nn.Parameter(torch.full((self.heads,), SHARPNESS))

    def adapt(self, query: Tensor, context: Tensor) -> Adapted:
        """Return the map of each head and window, (b, heads, c, c, windows along d, h, w)."""
        q, k = (split(widened(conv(x)), self.heads) for conv, x in ((self.to_query, query), (self.to_key, context)))
        sharpness = self.sharpness.view(-1, 1, 1, 1, 1, 1)
        return {"maps": (sharpness * windowed_cosine(q, k)).softmax(3)}

    def mix(self, query: Tensor, context: Tensor, adapted: Adapted) -> Tensor:
        """Return the sum of decoder map, static mixture and attention."""
        value = split(self.to_value(context), self.heads)
        maps = (adapted["maps"] - 1 / value.shape[2]).to(value.dtype)
        mixed = (interpolated(maps, value.shape[3:]) * value[:, :, None]).sum(3)
        out: Tensor = query + self.static(context) + mixed.flatten(1, 2)
        return out


def heads_of(width: int) -> int:
    """Return the number of heads for maps of this width, a divisor of it."""
    return next(heads for heads in range(min(HEADS, max(1, width // LEAST)), 0, -1) if width % heads == 0)


def split(x: Float[Tensor, "b n d h w"], heads: int) -> Float[Tensor, "b heads c d h w"]:
    """Return the channels of each head."""
    return rearrange(x, "b (heads c) d h w -> b heads c d h w", heads=heads)


def windowed_cosine(
    q: Float[Tensor, "b heads c d h w"], k: Float[Tensor, "b heads c d h w"]
) -> Float[Tensor, "b heads c c i j l"]:
    """Return the correlation of each pair of channels in each window."""
    count = [max(1, round(size / WINDOW)) for size in q.shape[3:]]
    inside = _windows(torch.ones_like(q[:1, :1, :1]), count)
    voxels = inside.sum(-1, keepdim=True).clamp_min(1)
    q, k = (_windows(x, count) for x in (q, k))
    q, k = (F.normalize((x - x.sum(-1, keepdim=True) / voxels) * inside, dim=-1, eps=EPS) for x in (q, k))
    i, j, n = count
    return rearrange(q @ k.mT, "b heads (i j n) c e -> b heads c e i j n", i=i, j=j, n=n)


def interpolated(maps: Float[Tensor, "b heads c c i j l"], size: Sequence[int]) -> Float[Tensor, "b heads c c d h w"]:
    """Return the maps at every voxel, linear between the centers of the windows and constant beyond them."""
    for axis, length in zip((-3, -2, -1), size, strict=True):
        windows = maps.shape[axis]
        place = torch.arange(length, device=maps.device)
        at = ((place + 0.5) / -(-length // windows) - 0.5).clamp(0, windows - 1)
        weights = (1 - (at[:, None] - torch.arange(windows, device=maps.device)).abs()).clamp_min(0).to(maps.dtype)
        maps = (maps.movedim(axis, -1) @ weights.mT).movedim(-1, axis)
    return maps


def _windows(x: Float[Tensor, "b heads c d h w"], count: Sequence[int]) -> Float[Tensor, "b heads n c v"]:
    """Return the voxels of each window, 0 beyond the map."""
    i, j, n = count
    pads = [-size % windows for size, windows in zip(x.shape[3:], count, strict=True)]
    x = F.pad(x, [pad for size in reversed(pads) for pad in (0, size)])
    return rearrange(x, "b heads c (i d) (j h) (n w) -> b heads (i j n) c (d h w)", i=i, j=j, n=n)
