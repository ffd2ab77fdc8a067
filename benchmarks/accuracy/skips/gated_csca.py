"""CSCA behind a gate at every place."""

import torch
from torch import Tensor, nn

from benchmarks.accuracy.skips.adaptive import Adapted, AdaptiveSkip, check_widths, per_channel, pointwise
from crossattn3d import CSCA


class GatedCSCA(AdaptiveSkip):
    """CSCA whose result passes a gate for every channel and place before the decoder map is added.

        O = U + sigmoid(Gu U + Ge E + g) * (CCA(U, E) + SCA(U, E)),   g = 2 at first

    Args:
        decoder_channels: width of U.
        encoder_channels: width of E, the same.
    """

    def __init__(self, decoder_channels: int, encoder_channels: int) -> None:
        width = check_widths("GatedCSCA", decoder_channels, encoder_channels)
        super().__init__(width, {"gate": (0, 2, 3, 4), "channel": (0,), "slices": (0,)})
        self.csca = CSCA(width, residual=False)
        self.gate_of_decoder, self.gate_of_encoder = pointwise(width, bias=False), pointwise(width, bias=False)
        self.gate_start = nn.Parameter(torch.full((width,), 2.0))

    def gate(self, query: Tensor, context: Tensor) -> Tensor:
        """Return the gate, (b, c, d, h, w)."""
        gate = self.gate_of_decoder(query) + self.gate_of_encoder(context)
        return (gate + per_channel(self.gate_start)).sigmoid()

    def adapt(self, query: Tensor, context: Tensor) -> Adapted:
        """Return the gate and both attention maps, (b, c, c) and (b, d, d)."""
        return {"gate": self.gate(query, context), **self.csca.attention_maps(query, context)._asdict()}

    def mix(self, query: Tensor, context: Tensor, adapted: Adapted) -> Tensor:
        """Return the gated sum of both halves, added to the decoder map."""
        channel, slices = self.csca.channel, self.csca.slices
        value = channel.to_value(context)
        of_channels = (adapted["channel"].to(value.dtype) @ value.flatten(2)).view_as(value)
        value = slices.to_value(context)
        of_slices = slices.to_out((adapted["slices"].to(value.dtype) @ value[:, 0].flatten(2)).view_as(value))
        out: Tensor = query + adapted["gate"].to(value.dtype) * (of_channels + of_slices)
        return out

    def forward(self, query: Tensor, context: Tensor) -> Tensor:
        """Join decoder map and encoder map; what `mix` does, by the package's own operation unless it is frozen."""
        if self.fixed is not None:
            return self.mix(query, context, self.fixed)
        out: Tensor = query + self.gate(query, context) * self.csca(query, context)
        return out
