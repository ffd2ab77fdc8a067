"""Gates for whole channels, which depend on the statistics of both maps."""

import torch
from torch import Tensor, nn

from benchmarks.accuracy.skips.adaptive import Adapted, AdaptiveSkip, check_widths, pointwise, widened


class SelectiveGate(AdaptiveSkip):
    """For each channel of a patch, a share of the decoder map and the rest of a mixture of the encoder's.

        O = a U + (1 - a) (Ws E + b),   a = sigmoid(MLP[mean and standard deviation of U and of E])

    Args:
        decoder_channels: width of U.
        encoder_channels: width of E, the same.
    """

    def __init__(self, decoder_channels: int, encoder_channels: int) -> None:
        width = check_widths("SelectiveGate", decoder_channels, encoder_channels)
        super().__init__(width, {"share": (0,)})
        self.static = pointwise(width)
        self.mlp = nn.Sequential(nn.Linear(4 * width, width), nn.ReLU(), nn.Linear(width, width))

    def adapt(self, query: Tensor, context: Tensor) -> Adapted:
        """Return the share of the decoder map, (b, c, 1, 1, 1)."""
        parts: list[Tensor] = []
        for x in (query, context):
            deviation, mean = torch.std_mean(widened(x).flatten(2), dim=-1, correction=0)
            parts += [mean, deviation]
        return {"share": self.mlp(torch.cat(parts, dim=1)).sigmoid()[..., None, None, None]}

    def mix(self, query: Tensor, context: Tensor, adapted: Adapted) -> Tensor:
        """Return the weighted sum."""
        share = adapted["share"].to(query.dtype)
        out: Tensor = share * query + (1 - share) * self.static(context)
        return out
