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
from crossattn3d.kernels.centers import center_of, sums_gradient, weight_and_bias_gradients, with_bias
from crossattn3d.kernels.composed import projected_squares
from crossattn3d.kernels.layout import from_slices, sum_dtype, to_slices, wide_dtype
from crossattn3d.kernels.parameters import Attention, ChannelParameters, SliceParameters
from crossattn3d.kernels.passes import Centers, ChannelSums, SliceWeights
from crossattn3d.kernels.softmax import Scores, attention_backward, attention_map

#: Parameters of the two halves, None for a half that is not asked for, and the options.
Arguments = tuple[ChannelParameters | None, SliceParameters | None, Attention]

#: Number of parts in which single-channel maps are converted, and replaced by their gradients.
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
    centers = _centers(channel, u, e)
    weights = None if slices is None else _slice_weights(slices, dtype, centers)
    channel_sums, single = passes.reduce(run_pass, u, e, centers, weights, gram=channel is not None, norms=cosine)
    p, bias, mixed = None, torch.zeros((), dtype=dtype, device=e.device), None
    slice_sums: list[Tensor] = []
    if channel is not None and channel_sums is not None:
        m = attention_map(_channel_scores(channel, channel_sums, centers, length, attention)[2]).to(dtype)
        p, bias = m @ channel.v_weight.to(dtype), m @ channel.v_bias.to(dtype)
    if slices is not None and weights is not None and single is not None:
        qkv = to_slices(single, e.shape[2:], attention.slice_dim)
        del single
        q, k, v = qkv.unbind(1)
        slice_sums = _slice_sums(q, k, cosine)
        torch.bmm(attention_map(_slice_scores(slices, slice_sums, q.shape[-1], attention)).to(dtype), v, out=q)
        mixed = weights.out, from_slices(qkv[:, :1], e.shape[2:], attention.slice_dim)[:, 0]
        del q, k, v
        bias = bias + slices.out_bias.to(dtype).expand(len(e), -1)
    out = passes.apply(run_pass, e, p, bias, mixed, u if attention.residual else None)
    return out, Sums(channel_sums, slice_sums)


def backward(run_pass: RunPass, dout: Tensor, u: Tensor, e: Tensor, arguments: Arguments, sums: Sums) -> list[Tensor]:
    """Return the gradients of both maps and of every parameter, in order."""
    channel, slices, attention = arguments
    centers = _centers(channel, u, e)
    weights = None if slices is None else _slice_weights(slices, sum_dtype(e), centers)
    dp, dbias, single = passes.reduce_backward(run_pass, dout, u, e, centers, weights)
    p = dsums = None
    pairs: list[tuple[Tensor | None, Tensor | None]] = []
    if channel is not None and sums.channel is not None:
        length = e.shape[2:].numel()
        p, dsums, dchannel = _channel_backward(channel, sums.channel, centers, dp, dbias, length, attention)
        pairs += zip(channel, dchannel, strict=True)
    dtemperature = None
    if slices is not None and single is not None:
        sliced = to_slices(single, e.shape[2:], attention.slice_dim)
        del single
        dtemperature = _slice_backward(slices, sums.slices, sliced, attention)
        single = from_slices(sliced, e.shape[2:], attention.slice_dim)
        del sliced
        weights = _slice_weights(slices, sum_dtype(e))
    du, de, d = passes.apply_backward(run_pass, dout, u, e, p, dsums, weights, single, attention.residual)
    if slices is not None and d is not None:
        of_inputs = [part for w in (d.q, d.k, d.v) for part in (w[None, :-1], w[-1:])]
        pairs += zip(slices, (*of_inputs, d.out[:, None], dbias.sum(0), dtemperature), strict=True)
    # Copied, since an operation's results may not share memory. A temperature that is not used has no gradient: 0.
    given = [(x, 0 if gradient is None else gradient) for x, gradient in pairs if x is not None]
    return [du, de, *(torch.empty(x.shape, dtype=x.dtype, device=x.device).copy_(torch.as_tensor(g)) for x, g in given)]


def _centers(channel: ChannelParameters | None, u: Tensor, e: Tensor) -> Centers | None:
    """Return centers of the maps for the Gram matrices; half precision has lost what they would keep."""
    return None if channel is None or e.element_size() < 4 else Centers(center_of(u), center_of(e))


def _slice_weights(slices: SliceParameters, dtype: torch.dtype, centers: Centers | None = None) -> SliceWeights:
    of_u, of_e = centers or (None, None)
    q = with_bias(slices.q_weight, slices.q_bias, dtype, of_u)
    k = with_bias(slices.k_weight, slices.k_bias, dtype, of_e)
    v = with_bias(slices.v_weight, slices.v_bias, dtype, of_e)
    return SliceWeights(q[..., 0, :], k[..., 0, :], v[..., 0, :], slices.out_weight[:, 0].to(dtype))


def _channel_scores(
    channel: ChannelParameters, sums: ChannelSums, centers: Centers | None, length: int, attention: Attention
) -> tuple[Tensor, Tensor, Scores]:
    """Return W~q, W~k, and the scores of the channels, in the dtype of the sums."""
    of_u, of_e = centers or (None, None)
    wq = with_bias(channel.q_weight, channel.q_bias, sums.ue.dtype, of_u)
    wk = with_bias(channel.k_weight, channel.k_bias, sums.ue.dtype, of_e)
    squares = None
    if sums.uu is not None and sums.ee is not None:
        squares = projected_squares(wq, sums.uu), projected_squares(wk, sums.ee)
    return wq, wk, Scores(wq @ sums.ue @ wk.mT, length, attention.score_norm, squares, channel.temperature)


def _slice_sums(q: Tensor, k: Tensor, cosine: bool) -> list[Tensor]:
    """Return q k^T and, for `cosine`, the squared lengths of q and of k, then all in float64."""
    if not cosine:
        return [q @ k.mT]
    of_parts = []
    for parts in zip(*(torch.split(x, _part(x), -1) for x in (q, k)), strict=True):
        a, b = (part.to(wide_dtype(q.device)) for part in parts)
        of_parts.append((a @ b.mT, a.square().sum(-1), b.square().sum(-1)))
    return [torch.stack(of_part).sum(0) for of_part in zip(*of_parts, strict=True)]


def _part(single: Tensor) -> int:
    """Return the positions in a part of single-channel maps: a copy of it needs little memory beside the maps."""
    return max(1, -(-single.shape[-1] // PARTS))


def _slice_scores(slices: SliceParameters, sums: Sequence[Tensor], length: int, attention: Attention) -> Scores:
    qk, *squares = sums
    return Scores(qk, length, attention.score_norm, (squares[0], squares[1]) if squares else None, slices.temperature)


def _channel_backward(
    channel: ChannelParameters,
    sums: ChannelSums,
    centers: Centers | None,
    dp: Tensor,
    dbias: Tensor,
    length: int,
    attention: Attention,
) -> tuple[Tensor, ChannelSums, tuple[Tensor | None, ...]]:
    """Return P, and the gradients of the sums of the maps, centers included, and of the parameters."""
    of_u, of_e = centers or (None, None)
    wq, wk, scores = _channel_scores(channel, sums, centers, length, attention)
    wv = with_bias(channel.v_weight, channel.v_bias, wq.dtype, of_e)
    m = attention_map(scores)
    p = m.to(dp.dtype) @ channel.v_weight.to(dp.dtype)
    dp = torch.cat([dp, dbias[:, :, None]], 2).to(m.dtype)
    dm = dp @ wv.mT
    dscores, dsquares, dtemperature = attention_backward(dm, m, scores, m.dtype)
    dwq, dwk, dwv = dscores @ wk @ sums.ue.mT, dscores.mT @ wq @ sums.ue, m.mT @ dp
    duu = dee = None
    if dsquares is not None and sums.uu is not None and sums.ee is not None:
        by_q, by_k = dsquares[0][:, :, None] * wq, dsquares[1][:, :, None] * wk
        duu, dee = wq.mT @ by_q, wk.mT @ by_k
        dwq, dwk = dwq + 2 * (by_q @ sums.uu), dwk + 2 * (by_k @ sums.ee)
    pairs = (weight_and_bias_gradients(*pair) for pair in ((dwq, of_u), (dwk, of_e), (dwv, of_e)))
    due = wq.mT @ dscores @ wk
    if of_u is not None and of_e is not None:
        due = sums_gradient(due, of_u, of_e)
        duu = None if duu is None else sums_gradient(duu, of_u, of_u)
        dee = None if dee is None else sums_gradient(dee, of_e, of_e)
    return p, ChannelSums(due, duu, dee), (*(x for pair in pairs for x in pair), dtemperature)


def _slice_backward(
    slices: SliceParameters, sums: Sequence[Tensor], single: Tensor, attention: Attention
) -> Tensor | None:
    """Return the gradient of the temperature; q, k, do and v, (b, 4, d, p), become dq, dk, dv and o."""
    length = single.shape[-1]
    scores = _slice_scores(slices, sums, length, attention)
    m = attention_map(scores)
    dm = (single[:, 2] @ single[:, 3].mT).to(m.dtype)
    dqk, dsquares, dtemperature = attention_backward(dm, m, scores, single.dtype)
    m = m.to(single.dtype)
    for part in torch.split(single, _part(single), -1):
        q, k, do, v = part.unbind(1)
        dq, dk = dqk @ k, dqk.mT @ q
        if dsquares is not None:
            dq += 2 * dsquares[0][:, :, None].to(q.dtype) * q
            dk += 2 * dsquares[1][:, :, None].to(k.dtype) * k
        q.copy_(dq)
        k.copy_(dk)
        do.copy_(m.mT @ do)
        v.copy_(m @ v)
    return dtemperature
