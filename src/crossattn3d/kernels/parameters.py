"""The learnable tensors and the options of an attention as plain named tuples, which every kernel takes."""

from typing import Literal, NamedTuple, get_args

from jaxtyping import Float
from torch import Tensor

ScoreNorm = Literal["none", "sqrt", "mean", "cosine", "instance"]
"""How scores are normalized before the softmax, for sums over n voxels (L for channels, HW for slices).

`none` leaves them as the paper prints them. `sqrt` divides by sqrt(n), `mean` by n. `cosine` takes unit rows and a
learned temperature. `instance` brings the scores of each sample to mean 0 and variance 1.
"""
SCORE_NORMS: tuple[ScoreNorm, ...] = get_args(ScoreNorm)

Backend = Literal["auto", "reference", "torch", "cpp", "triton"]
"""The code that computes an attention. The table of `crossattn3d.functional` says what each one is."""
BACKENDS: tuple[Backend, ...] = get_args(Backend)

#: Added to the variance of the scores in `instance`, and the least norm in `cosine`. Scores are divided by the number
#: of voxels first, so that it means the same at every size.
EPS = 1e-5


class Attention(NamedTuple):
    """How an attention is computed.

    Attributes:
        score_norm: s, how the scores are normalized before the softmax.
        residual: whether to add the decoder map.
        slice_dim: the dimension that counts slices: -3, -2 or -1.
        backend: the code that computes the attention.
    """

    score_norm: ScoreNorm
    residual: bool
    slice_dim: int
    backend: Backend


class StaticMixture(NamedTuple):
    """A mixture of the encoder's channels that is the same for every input, and that attention corrects.

    Ws E + bs + gamma (M - 1/C) V takes the place of M V.

    Attributes:
        gain: gamma, the weight of the correction in each channel.
        weight: Ws, the matrix of the mixture.
        bias: bs, its bias.
    """

    gain: Float[Tensor, " c"]
    weight: Float[Tensor, "c ce"]
    bias: Float[Tensor, " c"]


class ChannelParameters(NamedTuple):
    """The 1x1x1 projections of channel-wise cross-attention (Eq. 1).

    Attributes:
        q_weight: Wq, from the decoder map to queries.
        q_bias: bq, the bias of the queries.
        k_weight: Wk, from the encoder map to keys.
        k_bias: bk, the bias of the keys.
        v_weight: Wv, from the encoder map to values.
        v_bias: bv, the bias of the values.
        temperature: factor of the scores with `cosine`. The other normalizations do not use it.
        static: the static mixture that attention corrects. None for plain attention.
    """

    q_weight: Float[Tensor, "c cq"]
    q_bias: Float[Tensor, " c"]
    k_weight: Float[Tensor, "c ce"]
    k_bias: Float[Tensor, " c"]
    v_weight: Float[Tensor, "c ce"]
    v_bias: Float[Tensor, " c"]
    temperature: Float[Tensor, ""] | None = None
    static: StaticMixture | None = None


class GateParameters(NamedTuple):
    """The 1x1x1 projections of a gate between both maps.

    Attributes:
        query_weight: Wu, from the decoder map.
        context_weight: We, from the encoder map.
        bias: b, the bias before the sigmoid.
    """

    query_weight: Float[Tensor, "c cq"]
    context_weight: Float[Tensor, "c ce"]
    bias: Float[Tensor, " c"]


class SliceParameters(NamedTuple):
    """The 1x1x1 projections of slice-wise cross-attention (Eq. 3): to one channel, and back from it.

    Attributes:
        q_weight: wq, from the decoder map to queries of one channel.
        q_bias: bq, the bias of the queries.
        k_weight: wk, from the encoder map to keys of one channel.
        k_bias: bk, the bias of the keys.
        v_weight: wv, from the encoder map to values of one channel.
        v_bias: bv, the bias of the values.
        out_weight: Wo, from one channel to the output channels.
        out_bias: bo, the bias of the output channels.
        temperature: factor of the scores with `cosine`. The other normalizations do not use it.
    """

    q_weight: Float[Tensor, "1 cq"]
    q_bias: Float[Tensor, "1"]
    k_weight: Float[Tensor, "1 ce"]
    k_bias: Float[Tensor, "1"]
    v_weight: Float[Tensor, "1 ce"]
    v_bias: Float[Tensor, "1"]
    out_weight: Float[Tensor, "c 1"]
    out_bias: Float[Tensor, " c"]
    temperature: Float[Tensor, ""] | None = None
