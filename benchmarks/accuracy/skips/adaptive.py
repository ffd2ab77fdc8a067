"""Skips that adapt to their input, written so that what adapts can be frozen."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

#: What a skip computes from its input to mix maps with: attention maps and gates by name.
Adapted = dict[str, Tensor]


class AdaptiveSkip(nn.Module, ABC):
    """A skip O = mix(U, E, a(U, E)), in which `adapt` computes everything that depends on the input but is no value.

    With `fixed` in place of a(U, E) the skip is a static one.

    Args:
        out_channels: width of O.
        means: dimensions over which each part of `adapt` is averaged when it is frozen: the batch and the places.
    """

    def __init__(self, out_channels: int, means: dict[str, tuple[int, ...]]) -> None:
        super().__init__()
        self.out_channels, self.means = out_channels, means
        self.fixed: Adapted | None = None

    @abstractmethod
    def adapt(self, query: Tensor, context: Tensor) -> Adapted:
        """Return attention maps and gates."""

    @abstractmethod
    def mix(self, query: Tensor, context: Tensor, adapted: Adapted) -> Tensor:
        """Return the result, made with these maps and gates."""

    def forward(self, query: Tensor, context: Tensor) -> Tensor:
        """Join decoder map and encoder map."""
        return self.mix(query, context, self.adapt(query, context) if self.fixed is None else self.fixed)

    def averaged(self, query: Tensor, context: Tensor) -> Adapted:
        """Return the means of maps and gates over a batch and its places, which `mix` takes for any input."""
        adapted = self.adapt(query, context)
        return {name: widened(adapted[name]).mean(over, keepdim=True) for name, over in self.means.items()}


def check_widths(who: str, decoder_channels: int, encoder_channels: int) -> int:
    """Return the width of both maps.

    Raises:
        ValueError: they have different widths, so that they cannot be added.
    """
    if decoder_channels != encoder_channels:
        raise ValueError(
            f"{who}: expected maps of equal widths; got {decoder_channels} and {encoder_channels}; take concatenation"
        )
    return decoder_channels


def pointwise(width: int, *, bias: bool = True) -> nn.Conv3d:
    """Return a 1x1x1 convolution."""
    return nn.Conv3d(width, width, 1, bias=bias)


def per_channel(weights: Tensor) -> Tensor:
    """Return weights of channels as a factor of a map.

    They are kept as one dimension: PyTorch takes weights of four and six for filters, which channels_last_3d refuses.
    """
    return weights[:, None, None, None]


def widened(x: Tensor) -> Tensor:
    """Return x in float32 or wider, for sums over a map; autocast still multiplies matrices in half precision."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
