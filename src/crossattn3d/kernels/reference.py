"""Eq. 1 to 4 of the paper, literally: the specification that every faster kernel is tested against.

    Q = Wq U + bq,   K = Wk E + bk,   V = Wv E + bv,   M = softmax(s(Q K^T)),   O = M V

Channel-wise, the rows of Q, K and V are channels (C x L, L = D*H*W); slice-wise, they are the slices of a
single channel (D x H*W), and the result is brought back to all channels. s is the score normalization.
"""

import torch.nn.functional as F
from einops import einsum, rearrange
from jaxtyping import Float
from torch import Tensor

from crossattn3d.kernels.parameters import (
    EPS,
    SCORE_NORMS,
    Attention,
    ChannelParameters,
    GateParameters,
    ScoreNorm,
    SliceParameters,
    StaticMixture,
)


def attention_map(
    q: Float[Tensor, "b n l"], k: Float[Tensor, "b n l"], temperature: Tensor | None, score_norm: ScoreNorm
) -> Float[Tensor, "b n n"]:
    """Return M = softmax(s(Q K^T)), in at least float32 whatever the dtype of the maps.

    Raises:
        ValueError: score_norm is unknown, or `cosine` without a temperature.
    """
    if q.element_size() < 4:
        q, k = q.float(), k.float()
    if score_norm == "cosine" and temperature is not None:
        q, k = (F.normalize(x, dim=-1, eps=EPS) for x in (q, k))
        return (temperature * q @ k.transpose(-2, -1)).softmax(-1)
    scores, length = q @ k.transpose(-2, -1), q.shape[-1]
    if score_norm == "sqrt":
        scores = scores / length**0.5
    elif score_norm == "mean":
        scores = scores / length
    elif score_norm == "instance":
        scores = scores / length
        centered = scores - scores.mean((-2, -1), keepdim=True)
        scores = centered / (centered.square().mean((-2, -1), keepdim=True) + EPS).sqrt()
    elif score_norm != "none":
        raise ValueError(
            f"score_norm: expected {', '.join(SCORE_NORMS)}, cosine with a temperature; got {score_norm!r} and "
            f"{'no' if temperature is None else 'a'} temperature; give one of these"
        )
    return scores.softmax(-1)


def channel_attention(
    query: Float[Tensor, "b cq d h w"],
    context: Float[Tensor, "b ce d h w"],
    channel: ChannelParameters,
    score_norm: ScoreNorm,
) -> Float[Tensor, "b c c"]:
    """Return M of Eq. 2, channels x channels."""
    q = rearrange(_project(query, channel.q_weight, channel.q_bias), "b c d h w -> b c (d h w)")
    k = rearrange(_project(context, channel.k_weight, channel.k_bias), "b c d h w -> b c (d h w)")
    return attention_map(q, k, channel.temperature, score_norm)


def slice_attention(
    query: Float[Tensor, "b cq x y z"],
    context: Float[Tensor, "b ce x y z"],
    slices: SliceParameters,
    score_norm: ScoreNorm,
    slice_dim: int,
) -> Float[Tensor, "b d d"]:
    """Return the softmax of Eq. 4, slices x slices."""
    q = slices_first(_project(query, slices.q_weight, slices.q_bias), slice_dim)
    k = slices_first(_project(context, slices.k_weight, slices.k_bias), slice_dim)
    return attention_map(q.flatten(2), k.flatten(2), slices.temperature, score_norm)


def cross_attention(
    query: Float[Tensor, "b cq x y z"],
    context: Float[Tensor, "b ce x y z"],
    channel: ChannelParameters | None,
    slices: SliceParameters | None,
    attention: Attention,
) -> Float[Tensor, "b c x y z"]:
    """Return O = CCA (+) SCA (+) U; the sum of the parts asked for."""
    parts = []
    if channel is not None:
        m = channel_attention(query, context, channel, attention.score_norm)
        v = _project(context, channel.v_weight, channel.v_bias)
        parts += [mix_channels(m, v)] if channel.static is None else corrected_mixture(m, v, context, channel.static)
    if slices is not None:
        m = slice_attention(query, context, slices, attention.score_norm, attention.slice_dim)
        mixed = mix_slices(m, _project(context, slices.v_weight, slices.v_bias), attention.slice_dim)
        parts.append(_project(mixed, slices.out_weight, slices.out_bias))
    if attention.residual:
        parts.append(query)
    return sum(parts[1:], start=parts[0])


def corrected_mixture(
    m: Float[Tensor, "b c c"],
    v: Float[Tensor, "b c x y z"],
    context: Float[Tensor, "b ce x y z"],
    static: StaticMixture,
) -> list[Float[Tensor, "b c x y z"]]:
    """Return Ws E + bs and gamma (M - 1/C) V, whose sum takes the place of M V."""
    correction = static.gain[:, None] * (m - 1 / m.shape[-1])
    return [_project(context, static.weight, static.bias), mix_channels(correction, v)]


def gated(
    query: Float[Tensor, "b cq x y z"],
    context: Float[Tensor, "b ce x y z"],
    mixture: Float[Tensor, "b c x y z"],
    gate: GateParameters,
    residual: bool,
) -> Float[Tensor, "b c x y z"]:
    """Return O = sigmoid(Wu U + We E + b) X (+ U); X is the mixture."""
    of_query = _project(query, gate.query_weight, gate.bias)
    of_context = _project(context, gate.context_weight, gate.bias.new_zeros(gate.bias.shape))
    passed = (of_query + of_context).sigmoid() * mixture
    return passed + query if residual else passed


def mix_channels(m: Float[Tensor, "b c c"], v: Float[Tensor, "b c x y z"]) -> Float[Tensor, "b c x y z"]:
    """Return M V, channel-wise."""
    return einsum(m.to(v.dtype), v, "b i j, b j x y z -> b i x y z")


def mix_slices(m: Float[Tensor, "b d d"], v: Float[Tensor, "b 1 x y z"], slice_dim: int) -> Float[Tensor, "b 1 x y z"]:
    """Return M V, slice-wise."""
    mixed = einsum(m.to(v.dtype), slices_first(v, slice_dim), "b i j, b j p q -> b i p q")
    return mixed.unsqueeze(1).movedim(2, slice_dim % 5)


def slices_first(x: Float[Tensor, "b 1 x y z"], slice_dim: int) -> Float[Tensor, "b d p q"]:
    """Put the slices in the place of the single channel."""
    return x.movedim(slice_dim % 5, 2)[:, 0]


def _project(
    x: Float[Tensor, "b i x y z"], weight: Float[Tensor, "o i"], bias: Float[Tensor, " o"]
) -> Float[Tensor, "b o x y z"]:
    """Apply a 1x1x1 convolution."""
    return einsum(weight.to(x.dtype), x, "o i, b i x y z -> b o x y z") + bias.to(x.dtype)[:, None, None, None]
