"""Cross-attention skip connections as modules: thin holders of parameters over `crossattn3d.functional`.

All three follow the skip protocol of `crossattn3d.unet`: made with `(query_channels, context_channels)`, called
with `(query, context)`, and `out_channels` is the width of the result.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from jaxtyping import Float
from torch import Tensor, nn

from crossattn3d import functional
from crossattn3d._checks.maps import check_inputs, check_returned
from crossattn3d._checks.nets import check_half, check_width
from crossattn3d._checks.options import check_flag, check_options, check_temperature, check_unchanged
from crossattn3d._checks.scripting import NotScriptable
from crossattn3d._layers.halves import ChannelHalf, Half, SliceHalf
from crossattn3d._layers.hooks import is_plain
from crossattn3d.functional import (
    Arguments,
    Attention,
    Backend,
    ChannelParameters,
    ScoreNorm,
    SliceParameters,
    backend_of,
)


class AttentionMaps(NamedTuple):
    """Both attention maps of a CSCA: `channel` is (b, c, c), `slices` is (b, d, d); every row sums to 1."""

    channel: Float[Tensor, "b c c"]
    slices: Float[Tensor, "b d d"]


class _CrossAttention3d(NotScriptable, Half):
    """The options of an attention, checked whenever they are set: nothing else holds them."""

    #: What the layers are made for.
    _FIXED = ("query_channels", "context_channels", "out_channels")

    query_channels: int
    context_channels: int
    out_channels: int
    score_norm: ScoreNorm
    residual: bool
    slice_dim: int
    backend: Backend

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
        self.query_channels = query_channels
        self.context_channels = context_channels
        self.out_channels = context_channels
        self._set_options(Attention(score_norm, residual, slice_dim, backend))
        self._recompute: bool | None = None
        self.add_layers(query_channels, context_channels, score_norm)

    def _halves(self) -> tuple[ChannelHalf | None, SliceHalf | None]:
        """Return the channel-wise half and the slice-wise one, None for a missing one; one may be this module."""
        return None, None

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self._FIXED:
            check_unchanged(self, name, value)
        if name not in Attention._fields:
            super().__setattr__(name, value)
            return
        options = self.attention._replace(**{name: value})
        for half in self._halves():
            if half is not None:
                check_temperature(type(self).__name__, options, half.temperature)
        self._set_options(options)

    def _set_options(self, options: Attention) -> None:
        who = type(self).__name__
        check_options(who, options)
        if options.residual and self.query_channels != self.context_channels:
            raise ValueError(
                f"{who}: expected equal widths for residual=True; got query_channels={self.query_channels} and "
                f"context_channels={self.context_channels}; use residual=False"
            )
        self.__dict__.update(options._asdict())

    @property
    def attention(self) -> Attention:
        """The options that decide how the attention is computed."""
        return Attention(self.score_norm, self.residual, self.slice_dim, self.backend)

    @property
    def recompute(self) -> bool:
        """Whether to recompute the result in the backward pass instead of keeping it; follows the backend unless set.

        That takes two passes over the maps, little beside the convolutions; the reference is too expensive, and so are
        layers that have to be called, which may also count their calls or drop other values each time, as the `forward`
        of a subclass may.
        """
        chosen = backend_of(self.backend) != "reference" if self._recompute is None else self._recompute
        return chosen and self._has_known_forward() and all(map(self._is_fused, self._halves()))

    @recompute.setter
    def recompute(self, value: bool) -> None:
        check_flag(type(self).__name__, "recompute", value)
        self._recompute = value

    def _has_known_forward(self) -> bool:
        """Return whether neither a subclass nor a patch brings a `forward` of its own."""
        known = (ChannelCrossAttention3d.forward, SliceCrossAttention3d.forward, CSCA.forward)
        return type(self).forward in known and "forward" not in self.__dict__

    def recomputation(self, query: Tensor, context: Tensor) -> Callable[[], Tensor] | None:
        """Return a function that gives the result again, whatever changes here; None if `recompute` is False."""
        if not self.recompute:
            return None
        return partial(
            functional.attend, type(self).__name__, query, context, *self._fused_parameters(), self.attention
        )

    def extra_repr(self) -> str:
        """Return the arguments that made this module, for `print(module)`."""
        return (
            f"{self.query_channels}, {self.context_channels}, score_norm={self.score_norm!r}, "
            f"residual={self.residual}, slice_dim={self.slice_dim}, backend={self.backend!r}"
        )

    def _is_fused(self, half: ChannelHalf | SliceHalf | None) -> bool:
        """Return whether one operation computes a half from its weights, without a call of the half or its layers."""
        if half is None:
            return True
        unchanged = self._is(half) or is_plain(half, ChannelHalf) or is_plain(half, SliceHalf)
        return unchanged and half.has_plain_layers()

    def _fused_parameters(self) -> tuple[ChannelParameters | None, SliceParameters | None]:
        """Return the weights of the halves that one operation computes, None for the others."""
        channel, slices = self._halves()
        return (
            None if channel is None or not self._is_fused(channel) else channel.parameters_of_attention(),
            None if slices is None or not self._is_fused(slices) else slices.parameters_of_attention(),
        )

    def fused_arguments(self) -> Arguments | None:
        """Return all that one operation computes the attention from; None if layers have to be called.

        The reference, which is literal, is no such operation.
        """
        attention = self.attention._replace(slice_dim=self.slice_dim % 5 - 5, backend=backend_of(self.backend))
        if attention.backend == "reference" or not all(map(self._is_fused, self._halves())):
            return None
        return (*self._fused_parameters(), attention) if self._has_known_forward() else None

    def _is(self, half: nn.Module) -> bool:
        return half is self

    def _attend(self, query: Tensor, context: Tensor) -> Tensor:
        """Return the sum of the halves and the residual."""
        attention, fused = self.attention, self._fused_parameters()
        halves = zip(("channel", "slices"), self._halves(), strict=True)
        called = [(name, half) for name, half in halves if half is not None and not self._is_fused(half)]
        if not called:
            return functional.attend(type(self).__name__, query, context, *fused, attention)
        check_inputs(type(self).__name__, query, context, (self.query_channels, self.context_channels))
        query = query.to(context.dtype)
        results: list[Tensor] = []
        for name, half in called:
            results.append((half.call_layers if self._is(half) else half)(query, context, attention))
            check_returned(type(self).__name__, name, results[-1], context, self.out_channels)
        if any(parameters is not None for parameters in fused):
            results.append(functional.attend(type(self).__name__, query, context, *fused, attention))
        elif attention.residual:
            results.append(query)
        return sum(results[1:], start=results[0]).to(context.dtype)

    def _channel_map(self, half: ChannelHalf, query: Tensor, context: Tensor) -> Tensor:
        if not self._is_fused(half):
            return self._called_map(half, query, context)
        return functional.channel_attention_map(
            query, context, half.parameters_of_attention(), score_norm=self.score_norm, backend=self.backend
        )

    def _slice_map(self, half: SliceHalf, query: Tensor, context: Tensor) -> Tensor:
        if not self._is_fused(half):
            return self._called_map(half, query, context)
        parameters = half.parameters_of_attention()
        return functional.slice_attention_map(
            query, context, parameters, score_norm=self.score_norm, slice_dim=self.slice_dim, backend=self.backend
        )

    def _called_map(self, half: ChannelHalf | SliceHalf, query: Tensor, context: Tensor) -> Tensor:
        check_inputs(type(self).__name__, query, context, (self.query_channels, self.context_channels))
        return half.called_map(query.to(context.dtype), context, self.attention)


class ChannelCrossAttention3d(_CrossAttention3d, ChannelHalf):
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

    def _halves(self) -> tuple[ChannelHalf, None]:
        return self, None

    def forward(  # type: ignore[override]
        self, query: Float[Tensor, "b cq d h w"], context: Float[Tensor, "b ce d h w"]
    ) -> Float[Tensor, "b ce d h w"]:
        """Attend from the decoder map `query` to the encoder map `context`."""
        return self._attend(query, context)

    def attention_maps(
        self, query: Float[Tensor, "b cq d h w"], context: Float[Tensor, "b ce d h w"]
    ) -> Float[Tensor, "b ce ce"]:
        """Return softmax(s(Q K^T)), (b, c, c): row i says which encoder channels make output channel i."""
        return self._channel_map(self, query, context)


class SliceCrossAttention3d(_CrossAttention3d, SliceHalf):
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

    def _halves(self) -> tuple[None, SliceHalf]:
        return None, self

    def forward(  # type: ignore[override]
        self, query: Float[Tensor, "b cq x y z"], context: Float[Tensor, "b ce x y z"]
    ) -> Float[Tensor, "b ce x y z"]:
        """Attend from the decoder map `query` to the encoder map `context`."""
        return self._attend(query, context)

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

    def add_layers(self, query_channels: int, context_channels: int, score_norm: ScoreNorm) -> None:
        """Make the layers of both halves."""
        self.channel, self.slices = ChannelHalf(), SliceHalf()
        for half in (self.channel, self.slices):
            half.add_layers(query_channels, context_channels, score_norm)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in ("channel", "slices"):
            check_half(type(self).__name__, name, value)
        super().__setattr__(name, value)

    def _halves(self) -> tuple[ChannelHalf, SliceHalf]:
        return self.channel, self.slices

    def forward(
        self, query: Float[Tensor, "b cq x y z"], context: Float[Tensor, "b ce x y z"]
    ) -> Float[Tensor, "b ce x y z"]:
        """Attend from the decoder map `query` to the encoder map `context`."""
        return self._attend(query, context)

    def attention_maps(self, query: Float[Tensor, "b cq x y z"], context: Float[Tensor, "b ce x y z"]) -> AttentionMaps:
        """Return both maps, (b, c, c) and (b, d, d), for looking at."""
        maps = self._channel_map(self.channel, query, context), self._slice_map(self.slices, query, context)
        return AttentionMaps(*maps)
