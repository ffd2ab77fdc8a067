"""Forward and backward pass of the whole attention, derived by hand, over the passes of a module of `Passes`.

With P = M Wv, and o the one channel that the slice attention mixes, the output is P E + bias + wo (x) o (+ U). Given
its gradient dO, dP = dO E^T goes back, through matrices as small as channels x channels, to the gradient dG of the
Gram matrix of U~ and E~, and

    dU = dG E~ + wq (x) dq (+ dO),      dE = dG^T U~ + P^T dO + wk (x) dk + wv (x) dv.

At most four single-channel maps exist at a time beyond inputs and results, and a part of a fifth: that is why q, k and
v are projected again in the backward pass, and why their gradients are written over them.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from crossattn3d.kernels import Passes
from crossattn3d.kernels.parameters import ChannelParameters, ScoreNorm, SliceParameters
from crossattn3d.kernels.plain import from_slices, projected_squares, to_slices, with_bias
from crossattn3d.kernels.scores import attention, attention_backward

Pair = tuple[Tensor, Tensor]

#: In how many parts single-channel maps are replaced by their gradients.
PARTS = 6


class Call(NamedTuple):
    """What is computed: the parts asked for, and how."""

    channel: ChannelParameters | None
    slices: SliceParameters | None
    score_norm: ScoreNorm
    residual: bool
    slice_dim: int


class ChannelSums(NamedTuple):
    """Sums over voxels: U~ E~^T and, for `cosine`, U~ U~^T and E~ E~^T."""

    ue: Tensor
    uu: Tensor | None = None
    ee: Tensor | None = None


class SliceSums(NamedTuple):
    """Sums over the positions within slices: q k^T and, for `cosine`, the squared lengths of q and of k."""

    qk: Tensor
    qq: Tensor | None = None
    kk: Tensor | None = None


def forward(passes: Passes, u: Tensor, e: Tensor, call: Call) -> tuple[Tensor, ChannelSums | None, SliceSums | None]:
    """The output, and the sums that `backward` needs."""
    dtype, cosine = sum_dtype(e), call.score_norm == "cosine"
    weights, wo = _single_channel_weights(call.slices, dtype)
    of_channels = call.channel is not None
    ue, uu, ee, single = passes.reduce(u, e, *weights, need_norms=of_channels and cosine, want_gram=of_channels)
    channel_sums = None if ue is None else ChannelSums(ue, uu, ee)
    slice_sums = o = None
    if single is not None:
        qkv = to_slices(single, e.shape[2:], call.slice_dim)
        del single
        q, k, v = qkv.unbind(1)
        slice_sums = SliceSums(q @ k.mT, *((q.square().sum(-1), k.square().sum(-1)) if cosine else ()))
        torch.bmm(_slice_map(call, slice_sums, q.shape[-1]), v, out=q)
        o = from_slices(qkv[:, :1], e.shape[2:], call.slice_dim)[:, 0]
        del q, k, v
    p, bias = _mixture(call, _channel_map(call, channel_sums, e), e)
    return passes.apply(e, p, bias, o, wo, u if call.residual else None), channel_sums, slice_sums


def backward(
    passes: Passes,
    dout: Tensor,
    u: Tensor,
    e: Tensor,
    call: Call,
    channel_sums: ChannelSums | None,
    slice_sums: SliceSums | None,
) -> list[Tensor]:
    """The gradients of both maps and of every parameter, in order."""
    size, slice_dim = e.shape[2:], call.slice_dim
    weights, wo = _single_channel_weights(call.slices, sum_dtype(e))
    m = _channel_map(call, channel_sums, e)
    p, _ = _mixture(call, m, e)
    dp, dbias, singles = passes.reduce_backward(dout, u, e, *weights, wo)
    dsums, dchannel = _channel_backward(call, channel_sums, m, dp, dbias, e)
    dtemperature = None
    if slice_sums is not None and singles is not None:
        sliced = to_slices(singles, size, slice_dim)
        del singles
        dtemperature = _slices_backward(call, slice_sums, sliced)
        singles = from_slices(sliced, size, slice_dim)
        del sliced
    du, de, *dweights, dwo = passes.apply_backward(dout, u, e, p, *dsums, singles, *weights, call.residual)
    dslices: list[Tensor] = []
    if dwo is not None:
        dslices = [part for w in dweights for part in (_known(w)[None, :-1], _known(w)[-1:])]
        dslices += [dwo[:, None], dbias.sum(0)] + ([] if dtemperature is None else [dtemperature])
    parameters = [x for part in (call.channel, call.slices) for x in part or () if x is not None]
    pairs = zip(dchannel + dslices, parameters, strict=True)
    # Copied, since an operation's results may not share memory.
    return [du, de, *(torch.empty_like(x, memory_format=torch.contiguous_format).copy_(d) for d, x in pairs)]


def sum_dtype(x: Tensor) -> torch.dtype:
    """What everything but the maps is kept in: float64 for float64 maps, else float32."""
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def _single_channel_weights(
    slices: SliceParameters | None, dtype: torch.dtype
) -> tuple[tuple[Tensor | None, Tensor | None, Tensor | None], Tensor | None]:
    """W~ of q, k and v as vectors, and wo."""
    if slices is None:
        return (None, None, None), None
    pairs = (slices.q_weight, slices.q_bias), (slices.k_weight, slices.k_bias), (slices.v_weight, slices.v_bias)
    wq, wk, wv = (with_bias(*pair, dtype)[0] for pair in pairs)
    return (wq, wk, wv), slices.out_weight[:, 0].to(dtype)


def _channel_scores(channel: ChannelParameters, sums: ChannelSums) -> tuple[Tensor, Tensor, Tensor, Pair | None]:
    """W~q, W~k, Q K^T, and the squared lengths of the rows of Q and K."""
    wq, wk = (
        with_bias(*pair, sums.ue.dtype)
        for pair in ((channel.q_weight, channel.q_bias), (channel.k_weight, channel.k_bias))
    )
    squares = None
    if sums.uu is not None and sums.ee is not None:
        squares = projected_squares(wq, sums.uu), projected_squares(wk, sums.ee)
    return wq, wk, wq @ sums.ue @ wk.mT, squares


def _channel_map(call: Call, sums: ChannelSums | None, e: Tensor) -> Tensor | None:
    """M of the channels, in the dtype it was computed in."""
    if call.channel is None or sums is None:
        return None
    _, _, scores, squares = _channel_scores(call.channel, sums)
    return attention(scores, e.shape[2:].numel(), call.score_norm, squares, call.channel.temperature)


def _slice_map(call: Call, sums: SliceSums, length: int) -> Tensor:
    temperature = None if call.slices is None else call.slices.temperature
    return attention(sums.qk, length, call.score_norm, _squares(sums), temperature)


def _squares(sums: SliceSums) -> Pair | None:
    return None if sums.qq is None or sums.kk is None else (sums.qq, sums.kk)


def _mixture(call: Call, m: Tensor | None, e: Tensor) -> tuple[Tensor | None, Tensor]:
    """P = M Wv, and the bias of each sample and output channel."""
    dtype = sum_dtype(e)
    p, bias = None, torch.zeros((), dtype=dtype, device=e.device)
    if call.channel is not None and m is not None:
        m = m.to(dtype)
        p, bias = m @ call.channel.v_weight.to(dtype), m @ call.channel.v_bias.to(dtype)
    if call.slices is not None:
        bias = bias + call.slices.out_bias.to(dtype).expand(e.shape[0], -1)
    return p, bias


def _channel_backward(
    call: Call, sums: ChannelSums | None, m: Tensor | None, dp: Tensor, dbias: Tensor, e: Tensor
) -> tuple[tuple[Tensor | None, Tensor | None, Tensor | None], list[Tensor]]:
    """The gradients of the sums, and of the parameters."""
    if call.channel is None or sums is None or m is None:
        return (None, None, None), []
    channel, dtype = call.channel, m.dtype
    wq, wk, scores, squares = _channel_scores(channel, sums)
    dp, dbias = dp.to(dtype), dbias.to(dtype)
    dm = dp @ channel.v_weight.to(dtype).mT + dbias[:, :, None] * channel.v_bias.to(dtype)
    dscores, dsquares, dtemperature = attention_backward(
        dm, m, scores, e.shape[2:].numel(), call.score_norm, squares, channel.temperature
    )
    dwq, dwk = (dscores @ wk @ sums.ue.mT).sum(0), (dscores.mT @ wq @ sums.ue).sum(0)
    duu = dee = None
    if dsquares is not None and sums.uu is not None and sums.ee is not None:
        by_q, by_k = dsquares[0][:, :, None] * wq, dsquares[1][:, :, None] * wk
        duu, dee = wq.mT @ by_q, wk.mT @ by_k
        dwq, dwk = dwq + 2 * (by_q @ sums.uu).sum(0), dwk + 2 * (by_k @ sums.ee).sum(0)
    gradients = [dwq[:, :-1], dwq[:, -1], dwk[:, :-1], dwk[:, -1]]
    gradients += [(m.mT @ dp).sum(0), (m.mT @ dbias[:, :, None]).sum(0)[:, 0]]
    return (wq.mT @ dscores @ wk, duu, dee), gradients + ([] if dtemperature is None else [dtemperature])


def _slices_backward(call: Call, sums: SliceSums, singles: Tensor) -> Tensor | None:
    """The gradient of the temperature; q, k, do and v, (b, 4, d, p), become dq, dk, dv and o."""
    length = singles.shape[-1]
    m = _slice_map(call, sums, length)
    temperature = None if call.slices is None else call.slices.temperature
    dm = singles[:, 2] @ singles[:, 3].mT
    dqk, dsquares, dtemperature = attention_backward(
        dm, m, sums.qk, length, call.score_norm, _squares(sums), temperature
    )
    # Part by part, so that what is computed needs little memory beside what it replaces.
    for part in torch.split(singles, max(1, -(-length // PARTS)), -1):
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


def _known(x: Tensor | None) -> Tensor:
    assert x is not None
    return x
