"""A static mixture, corrected by channel-wise attention and gated at every place."""

import torch
from torch import Tensor, nn

from benchmarks.accuracy.skips.adaptive import Adapted, AdaptiveSkip, check_widths, per_channel, pointwise
from benchmarks.accuracy.skips.studied_csca import scores


class GatedMixture(AdaptiveSkip):
    """A gated sum of a static mixture of the encoder's channels and of one that attention changes.

        O = U + sigmoid(Gu U + Ge E + g) * (P E),   P E = Ws E + gamma (M - 1/C) Wv E,
        M = softmax(s(Q K^T)),   gamma = 0 and g = 2 at first

    Args:
        decoder_channels: width of U.
        encoder_channels: width of E, the same.
        gated: whether there is the gate; 1 without.
        attends: whether there is the attention; P = Ws without.
    """

    def __init__(
        self, decoder_channels: int, encoder_channels: int, *, gated: bool = True, attends: bool = True
    ) -> None:
        width = check_widths("GatedMixture", decoder_channels, encoder_channels)
        super().__init__(width, {})
        self.static = pointwise(width)
        if gated:
            self.gate_of_decoder, self.gate_of_encoder = pointwise(width, bias=False), pointwise(width, bias=False)
            self.gate_start = nn.Parameter(torch.full((width,), 2.0))
            self.means["gate"] = (0, 2, 3, 4)
        if attends:
            self.to_query, self.to_key, self.to_value = (pointwise(width) for _ in range(3))
            self.gamma = nn.Parameter(torch.zeros(width))
            self.means["map"] = (0,)

    def adapt(self, query: Tensor, context: Tensor) -> Adapted:
        """Return the gate, (b, c, d, h, w), and the attention map, (b, c, c)."""
        adapted = {}
        if "gate" in self.means:
            gate = self.gate_of_decoder(query) + self.gate_of_encoder(context)
            adapted["gate"] = (gate + per_channel(self.gate_start)).sigmoid()
        if "map" in self.means:
            q, k = self.to_query(query).flatten(2), self.to_key(context).flatten(2)
            adapted["map"] = scores(q, k, "instance").softmax(-1)
        return adapted

    def mix(self, query: Tensor, context: Tensor, adapted: Adapted) -> Tensor:
        """Return the gated mixture, added to the decoder map."""
        mixture = self.static(context)
        if "map" in adapted:
            value = self.to_value(context)
            change = self.gamma[:, None] * (adapted["map"] - 1 / self.out_channels)
            mixture = mixture + (change.to(value.dtype) @ value.flatten(2)).view_as(mixture)
        if "gate" in adapted:
            mixture = adapted["gate"].to(mixture.dtype) * mixture
        out: Tensor = query + mixture
        return out
