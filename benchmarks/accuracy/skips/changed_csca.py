"""CSCA at other places than in place of the concatenation, along more axes, or quiet at first."""

import torch
from torch import Tensor, nn

from crossattn3d import CSCA
from crossattn3d.attention import SliceCrossAttention3d
from crossattn3d.unet import ConcatSkip, SkipFactory


class BesideConcat(nn.Module):
    """[attention(U, E), U]: attention in front of the concatenation instead of in its place."""

    def __init__(self, decoder_channels: int, encoder_channels: int, *, make: SkipFactory) -> None:
        super().__init__()
        self.attention = make(decoder_channels, encoder_channels)
        self.out_channels = decoder_channels + encoder_channels

    def forward(self, query: Tensor, context: Tensor) -> Tensor:
        """Concatenate along the channels, attention first."""
        return torch.cat([self.attention(query, context), query], dim=1)


class AllAxes(nn.Module):
    """The sum of CSCA and slice-wise attention along rows and columns as well."""

    def __init__(self, decoder_channels: int, encoder_channels: int, *, score_norm: str, residual: bool) -> None:
        super().__init__()
        self.csca = CSCA(decoder_channels, encoder_channels, score_norm=score_norm, residual=residual)
        options = {"score_norm": score_norm, "residual": False}
        self.rows = SliceCrossAttention3d(decoder_channels, encoder_channels, slice_dim=-2, **options)
        self.columns = SliceCrossAttention3d(decoder_channels, encoder_channels, slice_dim=-1, **options)
        self.out_channels = encoder_channels

    def forward(self, query: Tensor, context: Tensor) -> Tensor:
        """Return the sum of all."""
        out: Tensor = self.csca(query, context) + self.rows(query, context) + self.columns(query, context)
        return out


def at_widths(decoder_channels: int, encoder_channels: int, *, widths: tuple[int, ...], make: SkipFactory) -> nn.Module:
    """Return the skip of `make` at the levels of these widths, concatenation at the others."""
    return (make if encoder_channels in widths else ConcatSkip)(decoder_channels, encoder_channels)


class QuietCSCA(CSCA):
    """CSCA whose slice-wise half adds nothing at first: its last projection starts at 0."""

    def quieten(self) -> None:
        """Set the last projection to 0."""
        for parameter in self.slices.to_out.parameters():
            nn.init.zeros_(parameter)
