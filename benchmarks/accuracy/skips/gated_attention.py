"""Attention of the package behind a gate at every place."""

import torch
from torch import Tensor, nn

from benchmarks.accuracy.causes.attention_probes import halves_of, maps_of
from benchmarks.accuracy.skips.adaptive import Adapted, AdaptiveSkip, check_widths, per_channel, pointwise
from crossattn3d.ucanet import SKIPS, AttentionName


class GatedAttention(AdaptiveSkip):
    """Attention whose result passes a gate for every channel and place before the decoder map is added.

        O = U + sigmoid(Gu U + Ge E + g) * attention(U, E),   g = 2 at first

    Args:
        decoder_channels: width of U.
        encoder_channels: width of E, the same.
        name: of the attention, without a residual of its own.
    """

    def __init__(self, decoder_channels: int, encoder_channels: int, *, name: AttentionName) -> None:
        width = check_widths("GatedAttention", decoder_channels, encoder_channels)
        super().__init__(width, {"gate": (0, 2, 3, 4)})
        self.name = name
        self.add_module(name, SKIPS[name](width, residual=False))
        self.means |= dict.fromkeys(halves_of(self.attention), (0,))
        self.gate_of_decoder, self.gate_of_encoder = pointwise(width, bias=False), pointwise(width, bias=False)
        self.gate_start = nn.Parameter(torch.full((width,), 2.0))

    @property
    def attention(self) -> nn.Module:
        """The attention."""
        return self.get_submodule(self.name)

    def gate(self, query: Tensor, context: Tensor) -> Tensor:
        """Return the gate, (b, c, d, h, w)."""
        gate = self.gate_of_decoder(query) + self.gate_of_encoder(context)
        return (gate + per_channel(self.gate_start)).sigmoid()

    def adapt(self, query: Tensor, context: Tensor) -> Adapted:
        """Return the gate and the attention maps, (b, c, c) and (b, d, d)."""
        return {"gate": self.gate(query, context), **maps_of(self.attention, query, context)}

    def mix(self, query: Tensor, context: Tensor, adapted: Adapted) -> Tensor:
        """Return the gated attention, added to the decoder map."""
        mixed = torch.zeros_like(query)
        for name, half in halves_of(self.attention).items():
            value = half.to_value(context)
            rows = value[:, 0].flatten(2) if name == "slices" else value.flatten(2)
            of_half = (adapted[name].to(value.dtype) @ rows).view_as(value)
            mixed = mixed + (half.to_out(of_half) if name == "slices" else of_half)
        out: Tensor = query + adapted["gate"].to(mixed.dtype) * mixed
        return out

    def forward(self, query: Tensor, context: Tensor) -> Tensor:
        """Join decoder map and encoder map; what `mix` does, by the package's own operation unless it is frozen."""
        if self.fixed is not None:
            return self.mix(query, context, self.fixed)
        out: Tensor = query + self.gate(query, context) * self.attention(query, context)
        return out
