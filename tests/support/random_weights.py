"""Weights and batch statistics of any value, so that no layer is left out of a comparison by its first values."""

from typing import TypeVar

import torch
from torch import nn

Net = TypeVar("Net", bound=nn.Module)


def randomize(net: Net, seed: int) -> Net:
    """Give every floating-point tensor of a net's state_dict random values, and return the net."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, tensor in net.state_dict().items():
            if name.endswith("running_var"):
                tensor.uniform_(0.5, 2)
            elif tensor.is_floating_point():
                # As wide as keeps the size of maps from layer to layer.
                tensor.normal_(std=max(tensor[0].numel(), 1) ** -0.5 if tensor.ndim > 1 else 0.5)
    return net
