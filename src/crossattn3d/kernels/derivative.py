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
from crossattn3d.kernels.centers import center_of, sums_gradient, weight_and_bias_gradients, with_biases
from crossattn3d.kernels.composed import projected_squares
from crossattn3d.kernels.layout import from_slices, sum_dtype, to_slices, wide_dtype
from crossattn3d.kernels.parameters import Attention, ChannelParameters, SliceParameters
from crossattn3d.kernels.passes import Centers, ChannelSums, SliceWeights
from crossattn3d.kernels.softmax import Scores, attention_backward, attention_map

#: Parameters of the two halves, None for a half that is not asked for, and the options.
Arguments = tuple[ChannelParameters | None, SliceParameters | None, Attention]

#: Number of parts in which single-channel maps are converted, and replaced by their gradients.
PARTS = 6
#: The same on other devices, where each call takes its time.
PARTS_OFF_CPU = 2


class Sums(NamedTuple):
    """All that `backward` needs of `forward`.

    Args:
        channel: Gram matrices of the maps.
        slices: sums over the positions within slices: q k^T and, for `cosine`, the squared lengths of q and of k.
    """

    channel: ChannelSums | None
    slices: Sequence[Tensor]


class _Weights(NamedTuple):
    """W~ of both halves.

    Args:
        q, k, v: of the channel-wise half, or else not used.
        slices: of the slice-wise half, if there is one.
    """

    q: Tensor
    k: Tensor
    v: Tensor
    slices: SliceWeights | None


def forward(run_pass: RunPass, u: Tensor, e: Tensor, arguments: Arguments) -> tuple[Tensor, Sums]:
    """Return the output, and the sums that `backward` needs."""
    channel, slices, attention = arguments
    dtype, cosine, length = sum_dtype(e), attention.score_norm == "cosine", e.shape[2:].numel()
    centers = _centers(channel, u, e)
    weights = _weights(arguments, e, centers)
    channel_sums, single = passes.reduce(
        run_pass, u, e, centers, weights.slices, gram=channel is not None, norms=cosine
    )
    p, bias, mixed = None, torch.zeros((), dtype=dtype, device=e.device), None
    slice_sums: list[Tensor] = []
    if channel is not None and channel_sums is not None:
        m = attention_map(_channel_scores(channel, weights, channel_sums, length, attention)).to(dtype)
        p, bias = m @ channel.v_weight.to(dtype), m @ channel.v_bias.to(dtype)
    if slices is not None and weights.slices is not None and single is not None:
        qkv = to_slices(single, e.shape[2:], attention.slice_dim)
        del single
        q, k, v = qkv.unbind(1)
        slice_sums = _slice_sums(q, k, cosine)
        torch.bmm(attention_map(_slice_scores(slices, slice_sums, q.shape[-1], attention)).to(dtype), v, out=q)
        mixed = weights.slices.out, from_slices(qkv[:, :1], e.shape[2:], attention.slice_dim)[:, 0]
        del q, k, v
        bias = bias + slices.out_bias.to(dtype).expand(len(e), -1)
    out = passes.apply(run_pass, e, p, bias, mixed, u if attention.residual else None)
    return out, Sums(channel_sums, slice_sums)


def backward(run_pass: RunPass, dout: Tensor, u: Tensor, e: Tensor, arguments: Arguments, sums: Sums) -> list[Tensor]:
    """Return the gradients of both maps and of every parameter, in order."""
    channel, slices, attention = arguments
    centers = _centers(channel, u, e)
    weights = _weights(arguments, e, centers)
    dp, dbias, single = passes.reduce_backward(run_pass, dout, u, e, centers, weights.slices)
    p = dsums = None
    pairs: list[tuple[Tensor | None, Tensor | None]] = []
    if channel is not None and sums.channel is not None:
        length = e.shape[2:].numel()
        p, dsums, dchannel = _channel_backward(channel, weights, sums.channel, centers, dp, dbias, length, attention)
        pairs += zip(channel, dchannel, strict=True)
    dtemperature = None
    if slices is not None and single is not None:
        sliced = to_slices(single, e.shape[2:], attention.slice_dim)
        del single
        dtemperature = _slice_backward(slices, sums.slices, sliced, attention)
        single = from_slices(sliced, e.shape[2:], attention.slice_dim)
        del sliced
    # Of the maps as they are.
    plain = None if centers is None or slices is None else _weights((None, slices, attention), e, None)
    of_slices = (plain or weights).slices
    du, de, d = passes.apply_backward(run_pass, dout, u, e, p, dsums, of_slices, single, attention.residual)
    if slices is not None and d is not None:
        of_inputs = [part for w in (d.q, d.k, d.v) for part in (w[None, :-1], w[-1:])]
        pairs += zip(slices, (*of_inputs, d.out[:, None], dbias.sum(0), dtemperature), strict=True)
    # Copied, since an operation's results may not share memory. A temperature that is not used has no gradient: 0.
    given = [(x, torch.zeros_like(x) if gradient is None else gradient) for x, gradient in pairs if x is not None]
    copies = [torch.empty(x.shape, dtype=x.dtype, device=x.device) for x, _ in given]
    torch._foreach_copy_(copies, [gradient for _, gradient in given])
    return [du, de, *copies]


def _centers(channel: ChannelParameters | None, u: Tensor, e: Tensor) -> Centers | None:
    """Return centers of the maps for the Gram matrices; half precision has lost what they would keep."""
    return None if channel is None or e.element_size() < 4 else Centers(center_of(u), center_of(e))


def _weights(arguments: Arguments, e: Tensor, centers: Centers | None) -> _Weights:
    """Return the weights for maps less their centers, of the channel-wise half in the dtype of its sums."""
    channel, slices, attention = arguments
    of_u, of_e = centers or (None, None)
    parts = [part for part in (channel, slices) if part is not None]
    dtype = wide_dtype(e.device) if attention.score_norm == "cosine" else sum_dtype(e)
    queries = with_biases([(part.q_weight, part.q_bias) for part in parts], dtype, of_u)
    pairs = [pair for part in parts for pair in ((part.k_weight, part.k_bias), (part.v_weight, part.v_bias))]
    others = with_biases(pairs, dtype, of_e)
    of_slices = None
    if slices is not None:
        q, k, v = (x[..., 0, :].to(sum_dtype(e)) for x in (queries[-1], *others[-2:]))
        of_slices = SliceWeights(q, k, v, slices.out_weight[:, 0].to(sum_dtype(e)))
    return _Weights(queries[0], others[0], others[1], of_slices)


def _channel_scores(
    channel: ChannelParameters, weights: _Weights, sums: ChannelSums, length: int, attention: Attention
) -> Scores:
    """Return the scores of the channels, in the dtype of the sums."""
    wq, wk, *_ = weights
    squares = None
    if sums.uu is not None and sums.ee is not None:
        squares = projected_squares(wq, sums.uu), projected_squares(wk, sums.ee)
    return Scores(wq @ sums.ue @ wk.mT, length, attention.score_norm, squares, channel.temperature)


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
    return max(1, -(-single.shape[-1] // (PARTS if single.is_cpu else PARTS_OFF_CPU)))


def _slice_scores(slices: SliceParameters, sums: Sequence[Tensor], length: int, attention: Attention) -> Scores:
    qk, *squares = sums
    return Scores(qk, length, attention.score_norm, (squares[0], squares[1]) if squares else None, slices.temperature)


def _channel_backward(
    channel: ChannelParameters,
    weights: _Weights,
    sums: ChannelSums,
    centers: Centers | None,
    dp: Tensor,
    dbias: Tensor,
    length: int,
    attention: Attention,
) -> tuple[Tensor, ChannelSums, tuple[Tensor | None, ...]]:
    """Return P, and the gradients of the sums of the maps, centers included, and of the parameters."""
    of_u, of_e = centers or (None, None)
    wq, wk, wv, _ = weights
    scores = _channel_scores(channel, weights, sums, length, attention)
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
