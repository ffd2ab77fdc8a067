"""Skips that any cross-attention has to be better than: without attention, and the gate of Attention U-Net."""

import torch
from torch import Tensor, nn

from benchmarks.accuracy.skips.adaptive import Adapted, AdaptiveSkip


class NoSkip(nn.Module):
    """The decoder map alone: a U-Net without skips."""

    def __init__(self, decoder_channels: int, encoder_channels: int) -> None:  # noqa: ARG002 - the protocol of skips
        super().__init__()
        self.out_channels = decoder_channels

    def forward(self, query: Tensor, context: Tensor) -> Tensor:  # noqa: ARG002 - the protocol of skips
        """Return the decoder map."""
        return query


class AddSkip(NoSkip):
    """The sum of both maps, of one width: as many channels as attention returns, and no parameters."""

    def forward(self, query: Tensor, context: Tensor) -> Tensor:
        """Return the sum."""
        return query + context


class StaticSkip(nn.Module):
    """A learned mixture of the encoder's channels, the same for every input.

        O = U + Ws E + b

    It is what channel-wise attention with a residual computes when its map is frozen.
    """

    def __init__(self, decoder_channels: int, encoder_channels: int) -> None:
        super().__init__()
        self.static = nn.Conv3d(encoder_channels, decoder_channels, 1)
        self.out_channels = decoder_channels

    def forward(self, query: Tensor, context: Tensor) -> Tensor:
        """Return the sum of the decoder map and the mixture."""
        out: Tensor = query + self.static(context)
        return out


class AttentionGate(AdaptiveSkip):
    """The gate of Attention U-Net (Oktay et al. 2018) on maps of one size, before the concatenation.

    O = [sigmoid(w relu(We E + Wu U + b) + c) E, U]
    """

    def __init__(self, decoder_channels: int, encoder_channels: int) -> None:
        super().__init__(decoder_channels + encoder_channels, {"gate": (0, 2, 3, 4)})
        width = max(1, encoder_channels // 2)
        self.of_encoder = nn.Conv3d(encoder_channels, width, 1)
        self.of_decoder = nn.Conv3d(decoder_channels, width, 1, bias=False)
        self.gate = nn.Conv3d(width, 1, 1)

    def adapt(self, query: Tensor, context: Tensor) -> Adapted:
        """Return the gate, (b, 1, d, h, w)."""
        return {"gate": self.gate((self.of_encoder(context) + self.of_decoder(query)).relu()).sigmoid()}

    def mix(self, query: Tensor, context: Tensor, adapted: Adapted) -> Tensor:
        """Concatenate the gated encoder map and the decoder map."""
        return torch.cat([adapted["gate"].to(context.dtype) * context, query], dim=1)
