"""The learnable layers of a gate between decoder map and encoder map."""

import torch
from torch import Tensor, nn

from crossattn3d._layers.halves import is_plain_projection
from crossattn3d.functional import GateParameters

#: The bias at first, which lets 88% pass.
OPEN = 2.0


class Gate(nn.Module):
    """G = sigmoid(Wu U + We E + b), a value for every channel and place, from two 1x1x1 convolutions.

    Args:
        query_channels: channels of U.
        context_channels: channels of E and of the gate.
    """

    def __init__(self, query_channels: int, context_channels: int) -> None:
        super().__init__()
        self.of_query = nn.Conv3d(query_channels, context_channels, 1, bias=False)
        self.of_context = nn.Conv3d(context_channels, context_channels, 1, bias=False)
        self.bias = nn.Parameter(torch.full((context_channels,), OPEN))

    def forward(self, query: Tensor, context: Tensor) -> Tensor:
        """Return the gate, (b, c, d, h, w)."""
        before = self.of_query(query) + self.of_context(context) + self.bias.to(context.dtype)[:, None, None, None]
        out: Tensor = before.sigmoid()
        return out

    def has_plain_layers(self) -> bool:
        """Return whether the weights alone say what the layers return."""
        return all(is_plain_projection(layer) and layer.bias is None for layer in (self.of_query, self.of_context))

    def parameters_of_gate(self) -> GateParameters:
        """Return the projections as matrices, as `functional.gated` takes them."""
        return GateParameters(self.of_query.weight.flatten(1), self.of_context.weight.flatten(1), self.bias)
