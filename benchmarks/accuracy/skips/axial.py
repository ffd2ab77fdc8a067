"""Slice-wise attention in windows: each part of a slice attends to the same part of the slices near it."""

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from benchmarks.accuracy.skips.adaptive import Adapted, AdaptiveSkip, check_widths, per_channel, pointwise, widened
from benchmarks.accuracy.skips.windowed import heads_of

#: Rows and columns of a window, and slices on either side that are attended to.
WINDOW, BAND = 8, 4
#: The temperature at first.
SHARPNESS = 4.0


class AxialSliceAttention(AdaptiveSkip):
    """A static mixture and slice-wise attention by head and window.

        O = U + Ws E + gamma (M Wv E),   M = softmax(tau cos(Q, K) - s |z - z'|) over |z - z'| <= 4, gamma = 0 at first

    Args:
        decoder_channels: width of U.
        encoder_channels: width of E, the same.
    """

    def __init__(self, decoder_channels: int, encoder_channels: int) -> None:
        width = check_widths("AxialSliceAttention", decoder_channels, encoder_channels)
        super().__init__(width, {"maps": (0, 1, 2)})
        self.heads = heads_of(width)
        self.static = pointwise(width)
        self.to_query, self.to_key, self.to_value = (pointwise(width) for _ in range(3))
        self.sharpness = nn.Parameter(torch.full((self.heads,), SHARPNESS))
        self.slope = nn.Parameter(2.0 ** -torch.arange(1.0, self.heads + 1))
        self.gamma = nn.Parameter(torch.zeros(width))

    def adapt(self, query: Tensor, context: Tensor) -> Adapted:
        """Return the map of each window and head, (b, windows along h, w, heads, d, d)."""
        q, k = (self._windows(widened(conv(x))) for conv, x in ((self.to_query, query), (self.to_key, context)))
        # Places beyond the map count neither in the mean nor in the cosine.
        inside = self._windows(torch.ones_like(query)).to(q.dtype)
        places = inside.sum(-1, keepdim=True)
        q, k = (F.normalize((x - x.sum(-1, keepdim=True) / places) * inside, dim=-1) for x in (q, k))
        place = torch.arange(q.shape[-2], device=q.device)
        distance = (place[:, None] - place).abs()
        sharpness, slope = (weights[:, None, None] for weights in (self.sharpness, self.slope))
        s = sharpness * (q @ k.mT) - slope * distance
        return {"maps": s.masked_fill(distance > BAND, -torch.inf).softmax(-1)}

    def mix(self, query: Tensor, context: Tensor, adapted: Adapted) -> Tensor:
        """Return the sum of decoder map, static mixture and attention."""
        value = self._windows(self.to_value(context))
        mixed = adapted["maps"].to(value.dtype) @ value
        d, h, w = context.shape[2:]
        whole = rearrange(mixed, "b i j heads d (c h w) -> b (heads c) d (i h) (j w)", h=WINDOW, w=WINDOW)
        out: Tensor = query + self.static(context) + per_channel(self.gamma) * whole[:, :, :d, :h, :w]
        return out

    def _windows(self, x: Float[Tensor, "b n d h w"]) -> Float[Tensor, "b i j heads d f"]:
        """Return the features of each slice in each window; 0 beyond the map."""
        h, w = x.shape[3:]
        x = F.pad(x, (0, -w % WINDOW, 0, -h % WINDOW))
        pattern = "b (heads c) d (i h) (j w) -> b i j heads d (c h w)"
        return rearrange(x, pattern, heads=self.heads, h=WINDOW, w=WINDOW)
