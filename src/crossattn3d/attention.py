"""Cross-attention skip connections as modules: thin holders of parameters over `crossattn3d.functional`.

All three follow the skip protocol of `crossattn3d.unet`: made with `(query_channels, context_channels)`, called
with `(query, context)`, and `out_channels` is the width of the result.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from crossattn3d import functional
from crossattn3d._arguments import check_width
from crossattn3d._checks import check_options
from crossattn3d.functional import Attention, Backend, ChannelParameters, ScoreNorm, SliceParameters, backend_of


class AttentionMaps(NamedTuple):
    """Both attention maps of a CSCA: `channel` is (b, c, c), `slices` is (b, d, d); every row sums to 1."""

    channel: Float[Tensor, "b c c"]
    slices: Float[Tensor, "b d d"]


class _Projections(nn.Module):
    """1x1x1 convolutions to queries, keys and values."""

    def add_projections(self, query_channels: int, context_channels: int, score_norm: ScoreNorm) -> None:
        """Make the layers."""
        self._add(query_channels, context_channels, context_channels, score_norm)

    def _add(self, query_channels: int, context_channels: int, width: int, score_norm: ScoreNorm) -> None:
        self.to_query = nn.Conv3d(query_channels, width, 1)
        self.to_key = nn.Conv3d(context_channels, width, 1)
        self.to_value = nn.Conv3d(context_channels, width, 1)
        self.temperature = nn.Parameter(torch.ones(())) if score_norm == "cosine" else None


class _ChannelProjections(_Projections):
    """The convolutions of the channel-wise half."""

    def parameters_of_attention(self) -> ChannelParameters:
        """Return the projections as matrices, as `functional.channel_cross_attention` takes them."""
        tensors = _weights_and_biases(self.to_query, self.to_key, self.to_value)
        return ChannelParameters(*tensors)._replace(temperature=self.temperature)


class _SliceProjections(_Projections):
    """The convolutions of the slice-wise half, to one channel and back."""

    def add_projections(self, query_channels: int, context_channels: int, score_norm: ScoreNorm) -> None:
        """Make the layers."""
        self._add(query_channels, context_channels, 1, score_norm)
        self.to_out = nn.Conv3d(1, context_channels, 1)

    def parameters_of_attention(self) -> SliceParameters:
        """Return the projections as matrices, as `functional.slice_cross_attention` takes them."""
        tensors = _weights_and_biases(self.to_query, self.to_key, self.to_value, self.to_out)
        return SliceParameters(*tensors)._replace(temperature=self.temperature)


class _CrossAttention3d(_Projections):
    """The options of an attention, checked and kept as attributes."""

    def __init__(
        self,
        query_channels: int,
        context_channels: int | None = None,
        *,
        score_norm: ScoreNorm = "instance",
        residual: bool | None = None,
        slice_dim: int = -3,
        backend: Backend = "auto",
    ) -> None:
        super().__init__()
        who = type(self).__name__
        query_channels = check_width(who, "query_channels", query_channels)
        if context_channels is None:
            context_channels = query_channels
        context_channels = check_width(who, "context_channels", context_channels)
        residual = query_channels == context_channels if residual is None else residual
        check_options(who, Attention(score_norm, residual, slice_dim, backend))
        if residual and query_channels != context_channels:
            raise ValueError(
                f"{who}: expected equal widths for residual=True; got query_channels={query_channels} and "
                f"context_channels={context_channels}; use residual=False"
            )
        self.query_channels = query_channels
        self.context_channels = context_channels
        self.out_channels = context_channels
        self.score_norm: ScoreNorm = score_norm
        self.residual = residual
        self.slice_dim = slice_dim
        self.backend: Backend = backend
        self._recompute: bool | None = None
        self.add_projections(query_channels, context_channels, score_norm)

    @property
    def attention(self) -> Attention:
        """The options that decide how the attention is computed."""
        return Attention(self.score_norm, self.residual, self.slice_dim, self.backend)

    @property
    def recompute(self) -> bool:
        """Whether to recompute the result in the backward pass instead of keeping it; follows the backend unless set.

        That takes two passes over the maps, little beside the convolutions; the reference is too expensive.
        """
        return backend_of(self.backend) != "reference" if self._recompute is None else self._recompute

    @recompute.setter
    def recompute(self, value: bool) -> None:
        self._recompute = value

    def extra_repr(self) -> str:
        """Return the arguments that made this module, for `print(module)`."""
        return (
            f"{self.query_channels}, {self.context_channels}, score_norm={self.score_norm!r}, "
            f"residual={self.residual}, slice_dim={self.slice_dim}, backend={self.backend!r}"
        )

    def _channel_map(self, half: _ChannelProjections, query: Tensor, context: Tensor) -> Tensor:
        return functional.channel_attention_map(
            query, context, half.parameters_of_attention(), score_norm=self.score_norm, backend=self.backend
        )

    def _slice_map(self, half: _SliceProjections, query: Tensor, context: Tensor) -> Tensor:
        parameters = half.parameters_of_attention()
        return functional.slice_attention_map(
            query, context, parameters, score_norm=self.score_norm, slice_dim=self.slice_dim, backend=self.backend
        )


class ChannelCrossAttention3d(_CrossAttention3d, _ChannelProjections):
    """Channel-wise cross-attention (CCA): the decoder picks, for each channel, a mixture of encoder channels.

        O = softmax(s(Q K^T)) V + U,   Q = Wq U + bq,  K = Wk E + bk,  V = Wv E + bv

    Q, K and V are C x L (C channels, L voxels), so the attention map is C x C whatever the volume's size.

    Args:
        query_channels: channels of the decoder map U.
        context_channels: channels of the encoder map E and of the output; as `query_channels` if None.
        score_norm: s, one of `none | sqrt | mean | cosine | instance`; see `functional.channel_cross_attention`.
        residual: whether U is added to the result; needs equal widths. If None, where the widths are equal.
        slice_dim: as for the other two, so that one can replace another; channels do not depend on it.
        backend: `auto`, `reference`, `torch`, `cpp` or `triton`.

    Raises:
        ValueError: a width below 1, an unknown option, or a residual between unequal widths.

    Source: Eq. 1 and 2 of the UCA-Net paper.

    Examples:
        >>> import torch
        >>> attention = ChannelCrossAttention3d(8)
        >>> u, e = torch.randn(1, 8, 4, 6, 10), torch.randn(1, 8, 4, 6, 10)
        >>> attention(u, e).shape
        torch.Size([1, 8, 4, 6, 10])
    """

    def forward(
        self, query: Float[Tensor, "b cq d h w"], context: Float[Tensor, "b ce d h w"]
    ) -> Float[Tensor, "b ce d h w"]:
        """Attend from the decoder map `query` to the encoder map `context`."""
        parameters = self.parameters_of_attention()
        return functional.attend(type(self).__name__, query, context, parameters, None, self.attention)

    def attention_maps(
        self, query: Float[Tensor, "b cq d h w"], context: Float[Tensor, "b ce d h w"]
    ) -> Float[Tensor, "b ce ce"]:
        """Return softmax(s(Q K^T)), (b, c, c): row i says which encoder channels make output channel i."""
        return self._channel_map(self, query, context)


class SliceCrossAttention3d(_CrossAttention3d, _SliceProjections):
    """Slice-wise cross-attention (SCA): each slice of the output is a mixture of the encoder's slices.

        O = Wo softmax(s(q k^T)) v + bo + U,   q = wq U + bq,  k = wk E + bk,  v = wv E + bv

    q, k and v have one channel and are D x HW, so the attention map is D x D; Wo restores the channels.

    Args:
        query_channels: channels of the decoder map U.
        context_channels: channels of the encoder map E and of the output; as `query_channels` if None.
        score_norm: s, one of `none | sqrt | mean | cosine | instance`.
        residual: whether U is added to the result; needs equal widths. If None, where the widths are equal.
        slice_dim: the dimension that counts slices: -3 here, -1 for MONAI's and TorchIO's volumes.
        backend: `auto`, `reference`, `torch`, `cpp` or `triton`.

    Raises:
        ValueError: a width below 1, an unknown option, or a residual between unequal widths.

    Source: Eq. 3 and 4 of the UCA-Net paper.

    Examples:
        >>> import torch
        >>> attention = SliceCrossAttention3d(8)
        >>> u, e = torch.randn(1, 8, 4, 6, 10), torch.randn(1, 8, 4, 6, 10)
        >>> attention(u, e).shape, attention.attention_maps(u, e).shape
        (torch.Size([1, 8, 4, 6, 10]), torch.Size([1, 4, 4]))
    """

    def forward(
        self, query: Float[Tensor, "b cq x y z"], context: Float[Tensor, "b ce x y z"]
    ) -> Float[Tensor, "b ce x y z"]:
        """Attend from the decoder map `query` to the encoder map `context`."""
        parameters = self.parameters_of_attention()
        return functional.attend(type(self).__name__, query, context, None, parameters, self.attention)

    def attention_maps(
        self, query: Float[Tensor, "b cq x y z"], context: Float[Tensor, "b ce x y z"]
    ) -> Float[Tensor, "b d d"]:
        """Return softmax(s(q k^T)), (b, d, d): row i says which encoder slices make output slice i."""
        return self._slice_map(self, query, context)


class CSCA(_CrossAttention3d):
    """Channel- and slice-wise cross-attention, summed: the skip connection of UCA-Net.

        O = CCA(U, E) + SCA(U, E) + U,   without the last term if not `residual`

    Args:
        query_channels: channels of the decoder map U.
        context_channels: channels of the encoder map E and of the output; as `query_channels` if None.
        score_norm: how the scores of both halves are normalized, one of `none | sqrt | mean | cosine | instance`.
        residual: whether U is added to the sum; needs equal widths. If None, where the widths are equal.
        slice_dim: the dimension that counts slices: -3 here, -1 for MONAI's and TorchIO's volumes.
        backend: `auto`, `reference`, `torch`, `cpp` or `triton`.

    Raises:
        ValueError: a width below 1, an unknown option, or a residual between unequal widths.

    Source: section 2.2.3 of the UCA-Net paper.

    Examples:
        >>> import torch
        >>> skip = CSCA(16, 8)
        >>> skip(torch.randn(2, 16, 4, 6, 10), torch.randn(2, 8, 4, 6, 10)).shape
        torch.Size([2, 8, 4, 6, 10])
    """

    def add_projections(self, query_channels: int, context_channels: int, score_norm: ScoreNorm) -> None:
        """Make the layers of both halves."""
        self.channel, self.slices = _ChannelProjections(), _SliceProjections()
        for half in (self.channel, self.slices):
            half.add_projections(query_channels, context_channels, score_norm)

    def forward(
        self, query: Float[Tensor, "b cq x y z"], context: Float[Tensor, "b ce x y z"]
    ) -> Float[Tensor, "b ce x y z"]:
        """Attend from the decoder map `query` to the encoder map `context`."""
        halves = self.channel.parameters_of_attention(), self.slices.parameters_of_attention()
        return functional.attend(type(self).__name__, query, context, *halves, self.attention)

    def attention_maps(self, query: Float[Tensor, "b cq x y z"], context: Float[Tensor, "b ce x y z"]) -> AttentionMaps:
        """Return both maps, (b, c, c) and (b, d, d), for looking at."""
        maps = self._channel_map(self.channel, query, context), self._slice_map(self.slices, query, context)
        return AttentionMaps(*maps)


def _weights_and_biases(*projections: nn.Conv3d) -> list[Tensor]:
    """Return the weight matrix and the bias of each 1x1x1 convolution, in turn."""
    tensors: list[Tensor] = []
    for projection in projections:
        if projection.bias is None:
            raise ValueError("CSCA: expected projections with a bias; got one without; keep bias=True")
        tensors += [projection.weight.flatten(1), projection.bias]
    return tensors
