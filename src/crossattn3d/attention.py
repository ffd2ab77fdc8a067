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
    """Both attention maps of a CSCA. Every row sums to 1.

    Attributes:
        channel: row i says which encoder channels make output channel i.
        slices: row i says which encoder slices make output slice i.
    """

    channel: Float[Tensor, "b c c"]
    slices: Float[Tensor, "b d d"]


class ChannelCrossAttention3d(CrossAttention3d, ChannelHalf):  # type: ignore[misc]
    """Channel-wise cross-attention (CCA): each output channel is a mixture of the encoder's channels.

        O = M V + U,      M = softmax(s(Q K^T))
        Q = Wq U + bq,    K = Wk E + bk,    V = Wv E + bv

    Q, K and V are C x L for C channels and L voxels, so the map M is C x C at every volume size.

    With `gated`, attention corrects a static mixture (Ws, bs), and the result passes a gate G:

        O = G (Ws E + bs + gamma (M - 1/C) V) + U
        G = sigmoid(Wu U + We E + b)

    Args:
        query_channels: channels of the decoder map U.
        context_channels: channels of the encoder map E and of the output. None takes `query_channels`.
        score_norm: s, how the scores are normalized before the softmax.
        residual: whether to add U to the result, which needs equal widths. None adds it if the widths are equal.
        slice_dim: without effect here. All three attentions take it, so that one can replace another.
        backend: the code that computes the attention.
        gated: whether to use the static mixture and the gate, a value for every channel and voxel. The paper has
            neither. docs/understand/choices.md says what they gain.

    Raises:
        ValueError: a width is below 1, an option is unknown, or the residual has unequal widths.

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
        """Return the map M. Row i says which encoder channels make output channel i."""
        return self._channel_map(self, query, context)


class SliceCrossAttention3d(CrossAttention3d, SliceHalf):  # type: ignore[misc]
    """Slice-wise cross-attention (SCA): each slice of the output is a mixture of the encoder's slices.

        O = X + U,        X = Wo softmax(s(q k^T)) v + bo
        q = wq U + bq,    k = wk E + bk,    v = wv E + bv

    q, k and v have one channel and are D x HW for D slices, so the map is D x D. Wo restores the channels.

    With `gated`, X passes a gate G:

        O = G X + U,      G = sigmoid(Wu U + We E + b)

    Args:
        query_channels: channels of the decoder map U.
        context_channels: channels of the encoder map E and of the output. None takes `query_channels`.
        score_norm: s, how the scores are normalized before the softmax.
        residual: whether to add U to the result, which needs equal widths. None adds it if the widths are equal.
        slice_dim: the dimension that counts slices. Give -1 for slices last, as MONAI and TorchIO load volumes.
        backend: the code that computes the attention.
        gated: whether to use the gate, a value for every channel and voxel. The paper has none, and no study here
            has tried it with this attention.

    Raises:
        ValueError: a width is below 1, an option is unknown, or the residual has unequal widths.

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
        """Return the map softmax(s(q k^T)). Row i says which encoder slices make output slice i."""
        return self._slice_map(self, query, context)


class CSCA(CrossAttention3d):
    """The skip connection of UCA-Net: the sum of channel-wise and slice-wise cross-attention.

        O = CCA(U, E) + SCA(U, E) + U

    Without `residual`, the last term is left out. With `gated`, the sum passes the gate G, and the channel-wise half
    is the corrected static mixture X; `ChannelCrossAttention3d` defines both:

        O = G (X + SCA(U, E)) + U

    Args:
        query_channels: channels of the decoder map U.
        context_channels: channels of the encoder map E and of the output. None takes `query_channels`.
        score_norm: how the scores of both halves are normalized before the softmax.
        residual: whether to add U to the sum, which needs equal widths. None adds it if the widths are equal.
        slice_dim: the dimension that counts slices. Give -1 for slices last, as MONAI and TorchIO load volumes.
        backend: the code that computes the attention.
        gated: whether to use the static mixture and the gate. The paper has neither. docs/understand/choices.md says
            what they gain without the slice-wise half.

    Raises:
        ValueError: a width is below 1, an option is unknown, or the residual has unequal widths.

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
        """Return both attention maps, to look at them."""
        maps = self._channel_map(self.channel, query, context), self._slice_map(self.slices, query, context)
        return AttentionMaps(*maps)
