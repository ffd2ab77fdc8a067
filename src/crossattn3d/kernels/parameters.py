"""The learnable tensors and the options of an attention as plain named tuples, which every kernel takes."""

from typing import Literal, NamedTuple, get_args

from jaxtyping import Float
from torch import Tensor

ScoreNorm = Literal["none", "sqrt", "mean", "cosine", "instance"]
SCORE_NORMS: tuple[ScoreNorm, ...] = get_args(ScoreNorm)

Backend = Literal["auto", "reference", "torch", "cpp", "triton"]
BACKENDS: tuple[Backend, ...] = get_args(Backend)

#: Added to the variance of the scores in `instance`, and the least norm in `cosine`. Scores are divided by the number
#: of voxels first, so that it means the same at every size.
EPS = 1e-5


class Attention(NamedTuple):
    """How an attention is computed.

    Attributes:
        score_norm: s, the normalization of the scores.
        residual: whether the decoder map is added.
        slice_dim: the dimension that counts slices, -3, -2 or -1.
        backend: which code computes it.
    """

    score_norm: ScoreNorm
    residual: bool
    slice_dim: int
    backend: Backend


class StaticMixture(NamedTuple):
    """A fixed mixture of the encoder's channels, which attention corrects: Ws E + bs + gamma (M - 1/C) V for M V.

    Attributes:
        gain: gamma, how much of the correction counts in each channel.
        weight: Ws.
        bias: bs.
    """

    gain: Float[Tensor, " c"]
    weight: Float[Tensor, "c ce"]
    bias: Float[Tensor, " c"]


class ChannelParameters(NamedTuple):
    """The 1x1x1 projections of channel-wise cross-attention (Eq. 1).

    Attributes:
        q_weight: from the decoder map to queries.
        q_bias: of the queries.
        k_weight: from the encoder map to keys.
        k_bias: of the keys.
        v_weight: from the encoder map to values.
        v_bias: of the values.
        temperature: multiplies the scores of `cosine`; not used by the other normalizations.
        static: what attention corrects, if anything.
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
        query_weight: from the decoder map.
        context_weight: from the encoder map.
        bias: of the gate before the sigmoid.
    """

    query_weight: Float[Tensor, "c cq"]
    context_weight: Float[Tensor, "c ce"]
    bias: Float[Tensor, " c"]


class SliceParameters(NamedTuple):
    """The 1x1x1 projections of slice-wise cross-attention (Eq. 3): to one channel, and back from it.

    Attributes:
        q_weight: from the decoder map to queries of one channel.
        q_bias: of the queries.
        k_weight: from the encoder map to keys of one channel.
        k_bias: of the keys.
        v_weight: from the encoder map to values of one channel.
        v_bias: of the values.
        out_weight: from the one channel of the result to the channels that come out.
        out_bias: of the channels that come out.
        temperature: multiplies the scores of `cosine`; not used by the other normalizations.
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
