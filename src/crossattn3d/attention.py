"""Cross-attention skip connections as modules: thin holders of parameters over `crossattn3d.functional`.

All three follow the skip protocol of `crossattn3d.unet`: made with `(query_channels, context_channels)`, called
with `(query, context)`, and `out_channels` says how wide the result is.
"""

from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from crossattn3d import functional
from crossattn3d._options import check_option
from crossattn3d.functional import (
    BACKENDS,
    SCORE_NORMS,
    Backend,
    ChannelParameters,
    ScoreNorm,
    SliceParameters,
    check_slice_dim,
)


class AttentionMaps(NamedTuple):
    """Both attention maps of a CSCA: `channel` is (b, c, c), `slices` is (b, d, d); every row sums to 1."""

    channel: Float[Tensor, "b c c"]
    slices: Float[Tensor, "b d d"]


class _CrossAttention3d(nn.Module):
    """What the three modules have in common: their options, checked and kept as attributes."""

    def __init__(
        self,
        query_channels: int,
        context_channels: int | None,
        score_norm: ScoreNorm,
        residual: bool | None,
        slice_dim: int,
        backend: Backend,
    ) -> None:
        super().__init__()
        who = type(self).__name__
        context_channels = query_channels if context_channels is None else context_channels
        for name, value in (("query_channels", query_channels), ("context_channels", context_channels)):
            if value < 1:
                raise ValueError(f"{who}: expected {name} of 1 or more; got {value}")
        check_option(who, "score_norm", score_norm, SCORE_NORMS)
        check_option(who, "backend", backend, BACKENDS)
        check_slice_dim(who, slice_dim)
        residual = query_channels == context_channels if residual is None else residual
        if residual and query_channels != context_channels:
            raise ValueError(
                f"{who}: expected equal widths for residual=True; got query_channels={query_channels} and "
                f"context_channels={context_channels}; use residual=False"
            )
        self.query_channels = query_channels
        self.context_channels = context_channels
        self.out_channels = context_channels
        # Two passes over the maps, nothing beside the convolutions that keep the result; the literal form is dear.
        self.recompute = backend != "reference"
        self.score_norm: ScoreNorm = score_norm
        self.residual = residual
        self.slice_dim = slice_dim
        self.backend: Backend = backend

    def extra_repr(self) -> str:
        """The arguments that made this module, for `print(module)`."""
        return (
            f"{self.query_channels}, {self.context_channels}, score_norm={self.score_norm!r}, "
            f"residual={self.residual}, slice_dim={self.slice_dim}, backend={self.backend!r}"
        )


class ChannelCrossAttention3d(_CrossAttention3d):
    """Channel-wise cross-attention (CCA): the decoder picks, for each channel, a mixture of encoder channels.

        O = softmax(s(Q K^T)) V + U,   Q = Wq U + bq,  K = Wk E + bk,  V = Wv E + bv

    Q, K and V are C x L (C channels, L voxels), so the attention map is C x C whatever the volume's size.

    Args:
        query_channels: channels of the decoder map U.
        context_channels: channels of the encoder map E and of the output; as `query_channels` if None.
        score_norm: s, one of `none | sqrt | mean | cosine | instance`; see `functional.channel_cross_attention`.
        residual: whether U is added to the result; needs equal widths. If None, where the widths are equal.
        slice_dim: as for the other two, so that one can replace another; channels do not depend on it.
        backend: `auto`, `reference`, `factorised`, `native` or `triton`.

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
        super().__init__(query_channels, context_channels, score_norm, residual, slice_dim, backend)
        self.to_query = nn.Conv3d(self.query_channels, self.out_channels, 1)
        self.to_key = nn.Conv3d(self.context_channels, self.out_channels, 1)
        self.to_value = nn.Conv3d(self.context_channels, self.out_channels, 1)
        self.temperature = nn.Parameter(torch.ones(())) if score_norm == "cosine" else None

    def parameters_of_attention(self) -> ChannelParameters:
        """The projections as matrices, as `functional.channel_cross_attention` takes them."""
        projections = (self.to_query, self.to_key, self.to_value)
        return ChannelParameters(*_weights_and_biases(projections))._replace(temperature=self.temperature)

    def forward(
        self, query: Float[Tensor, "b cq d h w"], context: Float[Tensor, "b ce d h w"]
    ) -> Float[Tensor, "b ce d h w"]:
        """Attend from the decoder map `query` to the encoder map `context`."""
        return functional.channel_cross_attention(
            query,
            context,
            self.parameters_of_attention(),
            score_norm=self.score_norm,
            residual=self.residual,
            backend=self.backend,
        )

    def attention_maps(
        self, query: Float[Tensor, "b cq d h w"], context: Float[Tensor, "b ce d h w"]
    ) -> Float[Tensor, "b ce ce"]:
        """softmax(s(Q K^T)), (b, c, c): row i says which encoder channels make output channel i."""
        return functional.channel_attention_map(
            query, context, self.parameters_of_attention(), score_norm=self.score_norm, backend=self.backend
        )


class SliceCrossAttention3d(_CrossAttention3d):
    """Slice-wise cross-attention (SCA): each slice of the output is a mixture of the encoder's slices.

        O = Wo softmax(s(q k^T)) v + bo + U,   q = wq U + bq,  k = wk E + bk,  v = wv E + bv

    q, k and v have one channel and are D x HW, so the attention map is D x D; Wo restores the channels.

    Args:
        query_channels: channels of the decoder map U.
        context_channels: channels of the encoder map E and of the output; as `query_channels` if None.
        score_norm: s, one of `none | sqrt | mean | cosine | instance`.
        residual: whether U is added to the result; needs equal widths. If None, where the widths are equal.
        slice_dim: the dimension that counts slices: -3 here, -1 for MONAI's and TorchIO's volumes.
        backend: `auto`, `reference`, `factorised`, `native` or `triton`.

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
        super().__init__(query_channels, context_channels, score_norm, residual, slice_dim, backend)
        self.to_query = nn.Conv3d(self.query_channels, 1, 1)
        self.to_key = nn.Conv3d(self.context_channels, 1, 1)
        self.to_value = nn.Conv3d(self.context_channels, 1, 1)
        self.to_out = nn.Conv3d(1, self.out_channels, 1)
        self.temperature = nn.Parameter(torch.ones(())) if score_norm == "cosine" else None

    def parameters_of_attention(self) -> SliceParameters:
        """The projections as matrices, as `functional.slice_cross_attention` takes them."""
        projections = (self.to_query, self.to_key, self.to_value, self.to_out)
        return SliceParameters(*_weights_and_biases(projections))._replace(temperature=self.temperature)

    def forward(
        self, query: Float[Tensor, "b cq x y z"], context: Float[Tensor, "b ce x y z"]
    ) -> Float[Tensor, "b ce x y z"]:
        """Attend from the decoder map `query` to the encoder map `context`."""
        return functional.slice_cross_attention(
            query,
            context,
            self.parameters_of_attention(),
            score_norm=self.score_norm,
            residual=self.residual,
            slice_dim=self.slice_dim,
            backend=self.backend,
        )

    def attention_maps(
        self, query: Float[Tensor, "b cq x y z"], context: Float[Tensor, "b ce x y z"]
    ) -> Float[Tensor, "b d d"]:
        """softmax(s(q k^T)), (b, d, d): row i says which encoder slices make output slice i."""
        return functional.slice_attention_map(
            query,
            context,
            self.parameters_of_attention(),
            score_norm=self.score_norm,
            slice_dim=self.slice_dim,
            backend=self.backend,
        )


class CSCA(_CrossAttention3d):
    """Channel- and slice-wise cross-attention, summed: the skip connection of UCA-Net.

        O = CCA(U, E) + SCA(U, E) + U,   without the last term if not `residual`

    Args:
        query_channels: channels of the decoder map U.
        context_channels: channels of the encoder map E and of the output; as `query_channels` if None.
        score_norm: how the scores of both parts are normalized, one of `none | sqrt | mean | cosine | instance`.
        residual: whether U is added to the sum; needs equal widths. If None, where the widths are equal.
        slice_dim: the dimension that counts slices: -3 here, -1 for MONAI's and TorchIO's volumes.
        backend: `auto`, `reference`, `factorised`, `native` or `triton`.

    Raises:
        ValueError: a width below 1, an unknown option, or a residual between unequal widths.

    Source: section 2.2.3 of the UCA-Net paper.

    Examples:
        >>> import torch
        >>> skip = CSCA(16, 8)
        >>> skip(torch.randn(2, 16, 4, 6, 10), torch.randn(2, 8, 4, 6, 10)).shape
        torch.Size([2, 8, 4, 6, 10])
    """

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
        super().__init__(query_channels, context_channels, score_norm, residual, slice_dim, backend)
        # U is added to the sum, not to each half.
        options: dict[str, Any] = {
            "score_norm": score_norm, "residual": False, "slice_dim": slice_dim, "backend": backend
        }  # fmt: skip
        self.channel = ChannelCrossAttention3d(query_channels, context_channels, **options)
        self.slices = SliceCrossAttention3d(query_channels, context_channels, **options)

    def forward(
        self, query: Float[Tensor, "b cq x y z"], context: Float[Tensor, "b ce x y z"]
    ) -> Float[Tensor, "b ce x y z"]:
        """Attend from the decoder map `query` to the encoder map `context`."""
        return functional.channel_slice_cross_attention(
            query,
            context,
            self.channel.parameters_of_attention(),
            self.slices.parameters_of_attention(),
            score_norm=self.score_norm,
            residual=self.residual,
            slice_dim=self.slice_dim,
            backend=self.backend,
        )

    def attention_maps(self, query: Float[Tensor, "b cq x y z"], context: Float[Tensor, "b ce x y z"]) -> AttentionMaps:
        """Both maps, (b, c, c) and (b, d, d), for looking at."""
        return AttentionMaps(self.channel.attention_maps(query, context), self.slices.attention_maps(query, context))


def _weights_and_biases(projections: tuple[nn.Conv3d, ...]) -> list[Tensor]:
    """The weight matrix and the bias of each 1x1x1 convolution, in turn."""
    tensors: list[Tensor] = []
    for projection in projections:
        if projection.bias is None:
            raise ValueError("CSCA: expected projections with a bias; got one without; keep bias=True")
        tensors += [projection.weight.flatten(1), projection.bias]
    return tensors
