"""The attention itself, once per way of computing it; `reference` is the specification of the others.

Each kernel is a module with the three functions of `Kernel`.
"""

from typing import Protocol, runtime_checkable

from torch import Tensor

from crossattn3d.kernels.parameters import ChannelParameters, ScoreNorm, SliceParameters


@runtime_checkable
class Kernel(Protocol):
    """What a kernel module offers. Inputs are checked, of one dtype, outside autocast; `slice_dim` is -3, -2 or -1."""

    def channel_attention(
        self, query: Tensor, context: Tensor, channel: ChannelParameters, score_norm: ScoreNorm
    ) -> Tensor:
        """M of Eq. 2, (b, c, c)."""
        ...

    def slice_attention(
        self, query: Tensor, context: Tensor, slices: SliceParameters, score_norm: ScoreNorm, slice_dim: int
    ) -> Tensor:
        """The softmax of Eq. 4, (b, d, d)."""
        ...

    def cross_attention(
        self,
        query: Tensor,
        context: Tensor,
        channel: ChannelParameters | None,
        slices: SliceParameters | None,
        *,
        score_norm: ScoreNorm,
        residual: bool,
        slice_dim: int,
    ) -> Tensor:
        """The sum of the parts asked for, in the dtype of `context`."""
        ...
