"""Forward and backward pass of the whole attention, derived by hand, over the four passes.

With P = M Wv, and o the one channel that the slice attention mixes, the output is P E + bias + wo (x) o (+ U). Given
its gradient dO, dP = dO E^T goes back, through matrices as small as channels x channels, to the gradient dG of the
Gram matrix of U~ and E~, and

    dU = dG E~ + wq (x) dq (+ dO),      dE = dG^T U~ + P^T dO + wk (x) dk + wv (x) dv.

At most four single-channel maps exist at a time beyond inputs and results, and a part of a fifth: that is why q, k and
v are projected again in the backward pass, and why their gradients are written over them.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from crossattn3d.kernels import RunPass, passes
from crossattn3d.kernels.composed import projected_squares, with_bias
from crossattn3d.kernels.layout import from_slices, sum_dtype, to_slices
from crossattn3d.kernels.parameters import Attention, ChannelParameters, SliceParameters
from crossattn3d.kernels.passes import ChannelSums, SliceWeights
from crossattn3d.kernels.softmax import Scores, attention_backward, attention_map

#: Parameters of the two halves, None for a half that is not asked for, and the options.
Arguments = tuple[ChannelParameters | None, SliceParameters | None, Attention]

#: Number of parts in which single-channel maps are replaced by their gradients.
PARTS = 6


class Sums(NamedTuple):
    """All that `backward` needs of `forward`.

    Args:
        channel: Gram matrices of the maps.
        slices: sums over the positions within slices: q k^T and, for `cosine`, the squared lengths of q and of k.
    """

    channel: ChannelSums | None
    slices: Sequence[Tensor]


def forward(run_pass: RunPass, u: Tensor, e: Tensor, arguments: Arguments) -> tuple[Tensor, Sums]:
    """Return the output, and the sums that `backward` needs."""
    channel, slices, attention = arguments
    dtype, cosine, length = sum_dtype(e), attention.score_norm == "cosine", e.shape[2:].numel()
    weights = None if slices is None else _slice_weights(slices, dtype)
    channel_sums, single = passes.reduce(run_pass, u, e, weights, gram=channel is not None, norms=cosine)
    p, bias, mixed = None, torch.zeros((), dtype=dtype, device=e.device), None
    slice_sums: list[Tensor] = []
    if channel is not None and channel_sums is not None:
        m = attention_map(_channel_scores(channel, channel_sums, length, attention)[2]).to(dtype)
        p, bias = m @ channel.v_weight.to(dtype), m @ channel.v_bias.to(dtype)
    if slices is not None and weights is not None and single is not None:
        qkv = to_slices(single, e.shape[2:], attention.slice_dim)
        del single
        q, k, v = qkv.unbind(1)
        slice_sums = [q @ k.mT, *(x.square().sum(-1) for x in (q, k) if cosine)]
        torch.bmm(attention_map(_slice_scores(slices, slice_sums, q.shape[-1], attention)), v, out=q)
        mixed = weights.out, from_slices(qkv[:, :1], e.shape[2:], attention.slice_dim)[:, 0]
        del q, k, v
        bias = bias + slices.out_bias.to(dtype).expand(len(e), -1)
    out = passes.apply(run_pass, e, p, bias, mixed, u if attention.residual else None)
    return out, Sums(channel_sums, slice_sums)


def backward(run_pass: RunPass, dout: Tensor, u: Tensor, e: Tensor, arguments: Arguments, sums: Sums) -> list[Tensor]:
    """Return the gradients of both maps and of every parameter, in order."""
    channel, slices, attention = arguments
    weights = None if slices is None else _slice_weights(slices, sum_dtype(e))
    dp, dbias, single = passes.reduce_backward(run_pass, dout, u, e, weights)
    p = dsums = None
    pairs: list[tuple[Tensor | None, Tensor | None]] = []
    if channel is not None and sums.channel is not None:
        length = e.shape[2:].numel()
        p, dsums, dchannel = _channel_backward(channel, sums.channel, dp, dbias, length, attention)
        pairs += zip(channel, dchannel, strict=True)
    dtemperature = None
    if slices is not None and single is not None:
        sliced = to_slices(single, e.shape[2:], attention.slice_dim)
        del single
        dtemperature = _slice_backward(slices, sums.slices, sliced, attention)
        single = from_slices(sliced, e.shape[2:], attention.slice_dim)
        del sliced
    du, de, d = passes.apply_backward(run_pass, dout, u, e, p, dsums, weights, single, attention.residual)
    if slices is not None and d is not None:
        of_inputs = [part for w in (d.q, d.k, d.v) for part in (w[None, :-1], w[-1:])]
        pairs += zip(slices, (*of_inputs, d.out[:, None], dbias.sum(0), dtemperature), strict=True)
    # Copied, since an operation's results may not share memory.
    given = [(x, gradient) for x, gradient in pairs if x is not None and gradient is not None]
    return [du, de, *(torch.empty_like(x, memory_format=torch.contiguous_format).copy_(g) for x, g in given)]


def _slice_weights(slices: SliceParameters, dtype: torch.dtype) -> SliceWeights:
    pairs = (slices.q_weight, slices.q_bias), (slices.k_weight, slices.k_bias), (slices.v_weight, slices.v_bias)
    q, k, v = (with_bias(*pair, dtype)[0] for pair in pairs)
    return SliceWeights(q, k, v, slices.out_weight[:, 0].to(dtype))


def _channel_scores(
    channel: ChannelParameters, sums: ChannelSums, length: int, attention: Attention
) -> tuple[Tensor, Tensor, Scores]:
    """Return W~q, W~k, and the scores of the channels, in the dtype of the sums."""
    wq = with_bias(channel.q_weight, channel.q_bias, sums.ue.dtype)
    wk = with_bias(channel.k_weight, channel.k_bias, sums.ue.dtype)
    squares = None
    if sums.uu is not None and sums.ee is not None:
        squares = projected_squares(wq, sums.uu), projected_squares(wk, sums.ee)
    return wq, wk, Scores(wq @ sums.ue @ wk.mT, length, attention.score_norm, squares, channel.temperature)


def _slice_scores(slices: SliceParameters, sums: Sequence[Tensor], length: int, attention: Attention) -> Scores:
    qk, *squares = sums
    return Scores(qk, length, attention.score_norm, (squares[0], squares[1]) if squares else None, slices.temperature)


def _channel_backward(
    channel: ChannelParameters, sums: ChannelSums, dp: Tensor, dbias: Tensor, length: int, attention: Attention
) -> tuple[Tensor, ChannelSums, tuple[Tensor | None, ...]]:
    """Return P, and the gradients of the sums and of the parameters."""
    wq, wk, scores = _channel_scores(channel, sums, length, attention)
    m = attention_map(scores)
    p = m.to(dp.dtype) @ channel.v_weight.to(dp.dtype)
    dp, dbias = dp.to(m.dtype), dbias.to(m.dtype)
    dm = dp @ channel.v_weight.to(m.dtype).mT + dbias[:, :, None] * channel.v_bias.to(m.dtype)
    dscores, dsquares, dtemperature = attention_backward(dm, m, scores)
    dwq, dwk = (dscores @ wk @ sums.ue.mT).sum(0), (dscores.mT @ wq @ sums.ue).sum(0)
    duu = dee = None
    if dsquares is not None and sums.uu is not None and sums.ee is not None:
        by_q, by_k = dsquares[0][:, :, None] * wq, dsquares[1][:, :, None] * wk
        duu, dee = wq.mT @ by_q, wk.mT @ by_k
        dwq, dwk = dwq + 2 * (by_q @ sums.uu).sum(0), dwk + 2 * (by_k @ sums.ee).sum(0)
    dwv, dbv = (m.mT @ dp).sum(0), (m.mT @ dbias[:, :, None]).sum(0)[:, 0]
    gradients = dwq[:, :-1], dwq[:, -1], dwk[:, :-1], dwk[:, -1], dwv, dbv, dtemperature
    return p, ChannelSums(wq.mT @ dscores @ wk, duu, dee), gradients


def _slice_backward(
    slices: SliceParameters, sums: Sequence[Tensor], single: Tensor, attention: Attention
) -> Tensor | None:
    """Return the gradient of the temperature; q, k, do and v, (b, 4, d, p), become dq, dk, dv and o."""
    length = single.shape[-1]
    scores = _slice_scores(slices, sums, length, attention)
    m = attention_map(scores)
    dqk, dsquares, dtemperature = attention_backward(single[:, 2] @ single[:, 3].mT, m, scores)
    # Part by part, so that what is computed needs little memory beside what it replaces.
    for part in torch.split(single, max(1, -(-length // PARTS)), -1):
        q, k, do, v = part.unbind(1)
        dq, dk = dqk @ k, dqk.mT @ q
        if dsquares is not None:
            dq += 2 * dsquares[0][:, :, None] * q
            dk += 2 * dsquares[1][:, :, None] * k
        q.copy_(dq)
        k.copy_(dk)
        do.copy_(m.mT @ do)
        v.copy_(m @ v)
    return dtemperature
