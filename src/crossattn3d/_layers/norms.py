"""Normalization layers of the networks, each with a learnable scale and shift per channel."""

import math
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn

from crossattn3d.kernels.modes import is_recorded, is_transforming

Norm = Literal["batch", "instance", "group"]
"""Normalization after a convolution, with a learnable scale and shift per channel.

`instance` and `group` do not depend on the other samples of a batch.
"""


def make_norm(norm: Norm, channels: int) -> nn.Module:
    """Return the layer that `norm` names, for maps of `channels` channels.

    Raises:
        ValueError: there is no such norm.
    """
    if norm not in get_args(Norm):
        raise ValueError(f"make_norm: expected norm to be one of {', '.join(map(repr, get_args(Norm)))}; got {norm!r}")
    if norm == "batch":
        return nn.BatchNorm3d(channels)
    if norm == "instance":
        return InstanceNorm(channels)
    return nn.GroupNorm(math.gcd(8, channels), channels)


class InstanceNorm(nn.GroupNorm):
    r"""Instance normalization, $y = \gamma (x - \mu) / \sqrt{\sigma^2 + \epsilon} + \beta$ per sample and channel.

    One group per channel. nn.InstanceNorm3d returns contiguous maps for channels_last_3d ones, and on CPU its gradients
    are wrong for a batch of one in that format (PyTorch 2.13). In that format on CPU, the backward pass of group
    normalization takes ten times as long as that of batch normalization: there each sample is normalized as a batch.

    Args:
        channels: width of the maps.

    Examples:
        >>> InstanceNorm(4)(torch.rand(1, 4, 2, 3, 5)).mean((0, 2, 3, 4)).abs().max() < 1e-6
        tensor(True)
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels)

    def forward(self, input: Float[Tensor, "b c d h w"]) -> Float[Tensor, "b c d h w"]:  # noqa: A002 - torch's name
        """Normalize."""
        # Neither transforms nor programs know the memory format, and a program is for batches of any size.
        looked_into = torch.compiler.is_compiling() or is_transforming() or is_recorded(input)
        if looked_into or not input.is_contiguous(memory_format=torch.channels_last_3d) or not input.is_cpu:
            return super().forward(input)
        samples = [self._normalize(sample) for sample in torch.split(input, 1)]
        return samples[0] if len(samples) == 1 else torch.cat(samples)

    def _normalize(self, sample: Tensor) -> Tensor:
        # Not F.batch_norm, which refuses a single voxel; group normalization refuses one only in a batch of one.
        result: Tensor = torch.batch_norm(sample, self.weight, self.bias, None, None, True, 0.0, self.eps, False)
        return result
