"""Cross-attention skip connections as modules: thin holders of parameters over `crossattn3d.functional`.

All three follow the skip protocol of `crossattn3d.unet`: made with `(query_channels, context_channels)`, called
with `(query, context)`, and `out_channels` is the width of the result.
"""

from typing import Any, NamedTuple

from jaxtyping import Float
from torch import Tensor

from crossattn3d._checks.nets import check_half
from crossattn3d._layers.cross_attention import CrossAttention3d
from crossattn3d._layers.halves import ChannelHalf, SliceHalf
from crossattn3d.functional import ScoreNorm


class AttentionMaps(NamedTuple):
    """Both attention maps of a CSCA: `channel` is (b, c, c), `slices` is (b, d, d); every row sums to 1."""

    channel: Float[Tensor, "b c c"]
    slices: Float[Tensor, "b d d"]


class ChannelCrossAttention3d(CrossAttention3d, ChannelHalf):  # type: ignore[misc]
    """Channel-wise cross-attention (CCA): the decoder picks, for each channel, a mixture of encoder channels.

        O = M V + U,   M = softmax(s(Q K^T)),   Q = Wq U + bq,  K = Wk E + bk,  V = Wv E + bv
        O = G (Ws E + bs + gamma (M - 1/C) V) + U,   G = sigmoid(Wu U + We E + b),   with `gated`

    Q, K and V are C x L (C channels, L voxels), so the attention map is C x C whatever the volume's size.

    Args:
        query_channels: channels of the decoder map U.
        context_channels: channels of the encoder map E and of the output; as `query_channels` if None.
        score_norm: s, one of `none | sqrt | mean | cosine | instance`; see `functional.channel_cross_attention`.
        residual: whether U is added to the result; needs equal widths. If None, where the widths are equal.
        slice_dim: as for the other two, so that one can replace another; channels do not depend on it.
        backend: `auto`, `reference`, `torch`, `cpp` or `triton`.
        gated: whether attention corrects a static mixture, and the result passes a gate for every channel and place
            before U is added. The paper has neither; docs/understand/choices.md says what they gain.

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

    def attention_maps(
        self, query: Float[Tensor, "b cq d h w"], context: Float[Tensor, "b ce d h w"]
    ) -> Float[Tensor, "b ce ce"]:
        """Return softmax(s(Q K^T)), (b, c, c): row i says which encoder channels make output channel i."""
        return self._channel_map(self, query, context)


class SliceCrossAttention3d(CrossAttention3d, SliceHalf):  # type: ignore[misc]
    """Slice-wise cross-attention (SCA): each slice of the output is a mixture of the encoder's slices.

        O = X + U,   X = Wo softmax(s(q k^T)) v + bo,   q = wq U + bq,  k = wk E + bk,  v = wv E + bv
        O = G X + U,   G = sigmoid(Wu U + We E + b),   with `gated`

    q, k and v have one channel and are D x HW, so the attention map is D x D; Wo restores the channels.

    Args:
        query_channels: channels of the decoder map U.
        context_channels: channels of the encoder map E and of the output; as `query_channels` if None.
        score_norm: s, one of `none | sqrt | mean | cosine | instance`.
        residual: whether U is added to the result; needs equal widths. If None, where the widths are equal.
        slice_dim: the dimension that counts slices: -3 here, -1 for MONAI's and TorchIO's volumes.
        backend: `auto`, `reference`, `torch`, `cpp` or `triton`.
        gated: whether the result passes a gate for every channel and place before U is added, which the paper does not
            have and no study has tried.

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

    def attention_maps(
        self, query: Float[Tensor, "b cq x y z"], context: Float[Tensor, "b ce x y z"]
    ) -> Float[Tensor, "b d d"]:
        """Return softmax(s(q k^T)), (b, d, d): row i says which encoder slices make output slice i."""
        return self._slice_map(self, query, context)


class CSCA(CrossAttention3d):
    """Channel- and slice-wise cross-attention, summed: the skip connection of UCA-Net.

        O = CCA(U, E) + SCA(U, E) + U,         without the last term if not `residual`
        O = G (X + SCA(U, E)) + U,   with `gated`, where X and G are those of `ChannelCrossAttention3d`

    Args:
        query_channels: channels of the decoder map U.
        context_channels: channels of the encoder map E and of the output; as `query_channels` if None.
        score_norm: how the scores of both halves are normalized, one of `none | sqrt | mean | cosine | instance`.
        residual: whether U is added to the sum; needs equal widths. If None, where the widths are equal.
        slice_dim: the dimension that counts slices: -3 here, -1 for MONAI's and TorchIO's volumes.
        backend: `auto`, `reference`, `torch`, `cpp` or `triton`.
        gated: whether attention corrects a static mixture of channels, and its sum with the slice-wise half passes a
            gate. The paper has neither; docs/understand/choices.md says what they gain without the slice-wise half.

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

    def attention_maps(self, query: Float[Tensor, "b cq x y z"], context: Float[Tensor, "b ce x y z"]) -> AttentionMaps:
        """Return both maps, (b, c, c) and (b, d, d), for looking at."""
        maps = self._channel_map(self.channel, query, context), self._slice_map(self.slices, query, context)
        return AttentionMaps(*maps)
