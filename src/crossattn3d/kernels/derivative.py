"""Forward and backward pass of the whole attention, derived by hand, over the four passes.

With P = M Wv, or that of `gate.mixture`, and o the one channel that the slice attention mixes, the output is
P E + bias + wo (x) o (+ U). Given its gradient dO, dP = dO E^T goes back, through matrices as small as channels x
channels, to the gradient dG of the Gram matrix of U~ and E~, and

    dU = dG E~ + wq (x) dq (+ dO),      dE = dG^T U~ + P^T dO + wk (x) dk + wv (x) dv.

On a CPU, at most four single-channel maps exist at a time beyond inputs and results, and a part of a fifth: that is
why q, k and v are projected again in the backward pass, and why their gradients are written over them. Elsewhere, where
each call takes its time and memory is large beside them, there are eight.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from crossattn3d.kernels import RunGatedPass, RunPass, passes, softmax
from crossattn3d.kernels.centers import Centers, center_of, shift_sums_gradient_
from crossattn3d.kernels.composed import projected_squares
from crossattn3d.kernels.gate import mixture
from crossattn3d.kernels.layout import from_slices, sum_dtype, to_slices, wide_dtype
from crossattn3d.kernels.parameters import Attention, ChannelParameters, SliceParameters
from crossattn3d.kernels.passes import ChannelSums
from crossattn3d.kernels.softmax import Scores
from crossattn3d.kernels.weights import ChannelWeights, channel_gradients, pack, slice_gradients

#: Parameters of the two halves, None for a half that is not asked for, and the options.
Arguments = tuple[ChannelParameters | None, SliceParameters | None, Attention]

#: Number of parts in which single-channel maps are converted, and on a CPU replaced by their gradients.
PARTS = 6
#: The same on other devices, where each call takes its time.
PARTS_OFF_CPU = 2


class Implementation(NamedTuple):
    """How a kind of device computes: the primitive, the softmax of small matrices and its derivative, and a gate."""

    run_pass: RunPass
    attention_map: Callable[[Scores], Tensor] = softmax.attention_map
    attention_backward: Callable[[Tensor, Scores, torch.dtype], softmax.Gradients] = softmax.attention_backward
    run_gated_pass: RunGatedPass | None = None


class Sums(NamedTuple):
    """All that `backward` needs of `forward`.

    Attributes:
        channel: Gram matrices of the maps.
        slices: sums over the positions within slices: q k^T and, for `cosine`, the squared lengths of q and of k.
    """

    channel: ChannelSums | None
    slices: Sequence[Tensor]


class Mixing(NamedTuple):
    """All that makes the output out of the maps, voxel by voxel: P E + bias + wo (x) o (+ U).

    Attributes:
        p: (b, c, ce), None without a channel-wise half.
        bias: (b, c).
        single: wo, (c,), and o, (b, voxels); None without a slice-wise half.
    """

    p: Tensor | None
    bias: Tensor
    single: tuple[Tensor, Tensor] | None


def forward(how: Implementation, u: Tensor, e: Tensor, arguments: Arguments) -> tuple[Tensor, Sums]:
    """Return the output, and the sums that `backward` needs."""
    mixing, sums = mix(how, u, e, arguments)
    return passes.apply(how.run_pass, e, *mixing, u if arguments[2].residual else None), sums


def mix(how: Implementation, u: Tensor, e: Tensor, arguments: Arguments) -> tuple[Mixing, Sums]:
    """Return what makes the output, and the sums that `backward` needs."""
    channel, slices, attention = arguments
    dtype, cosine = sum_dtype(e), attention.score_norm == "cosine"
    centers, plain = _centers(channel, u, e), pack(channel, slices)
    packed = plain.less(centers, _channel_dtype(e, attention))
    of_slices = packed.of_slices(dtype)
    channel_sums, single = passes.reduce(how.run_pass, u, e, centers, of_slices, gram=channel is not None, norms=cosine)
    p = bias = mixed = None
    slice_sums: list[Tensor] = []
    if channel is not None and channel_sums is not None:
        weights = packed.of_channels(len(e), channel_sums.ue.dtype)
        scores = _channel_scores(channel, weights, weights.q @ channel_sums.ue, channel_sums, e, attention)
        m = how.attention_map(scores).to(dtype)
        bias_and_p = mixture.bias_and_p(channel, m, plain.of_channels(len(e), dtype).v)
        bias, p = bias_and_p[:, :, 0], bias_and_p[:, :, 1:]
        del m
    if slices is not None and of_slices is not None and single is not None:
        qkv = to_slices(single, e.shape[2:], attention.slice_dim)
        del single
        q, k, v = qkv.unbind(1)
        slice_sums = _slice_sums(q, k, cosine)
        m = how.attention_map(_slice_scores(slices, slice_sums, q.shape[-1], attention))
        torch.bmm(m.to(dtype), v, out=q)
        mixed = of_slices.out, from_slices(qkv[:, :1], e.shape[2:], attention.slice_dim)[:, 0]
        del q, k, v
        out_bias = slices.out_bias.to(dtype)
        bias = out_bias.expand(len(e), -1) if bias is None else bias + out_bias
    assert bias is not None, "there is a half"
    return Mixing(p, bias, mixed), Sums(channel_sums, slice_sums)


def backward(how: Implementation, dout: Tensor, u: Tensor, e: Tensor, arguments: Arguments, sums: Sums) -> list[Tensor]:
    """Return the gradients of both maps and of every parameter, in order."""
    channel, slices, attention = arguments
    centers, plain = _centers(channel, u, e), pack(channel, slices)
    packed = plain.less(centers, _channel_dtype(e, attention))
    dbias_and_p, single = passes.reduce_backward(how.run_pass, dout, u, e, centers, packed.of_slices(sum_dtype(e)))
    p = dsums = None
    gradients: list[Tensor] = []
    dtemperature = None
    if channel is not None and sums.channel is not None:
        weights = packed.of_channels(len(e), sums.channel.ue.dtype)
        p, dsums, dweights, dtemperature, of_static = _channel_backward(
            how, channel, weights, sums.channel, e, centers, dbias_and_p, attention
        )
        gradients += channel_gradients(channel, dweights, centers)
        gradients += [*_of_temperature(channel, dtemperature), *of_static]
    if slices is not None and single is not None:
        sliced = to_slices(single, e.shape[2:], attention.slice_dim)
        del single
        sliced, dtemperature = _slice_backward(how, slices, sums.slices, sliced, attention)
        single = from_slices(sliced, e.shape[2:], attention.slice_dim)
        del sliced
    # Of the maps as they are.
    of_slices = plain.of_slices(sum_dtype(e))
    du, de, dslices = passes.apply_backward(how.run_pass, dout, u, e, p, dsums, of_slices, single, attention.residual)
    if slices is not None and dslices is not None:
        gradients += [*slice_gradients(slices, dslices, dbias_and_p[:, :, 0]), *_of_temperature(slices, dtemperature)]
    return [du, de, *gradients]


def _centers(channel: ChannelParameters | None, u: Tensor, e: Tensor) -> Centers | None:
    """Return centers of the maps for the Gram matrices; half precision has lost what they would keep."""
    return None if channel is None or e.element_size() < 4 else Centers(center_of(u), center_of(e))


def _channel_dtype(e: Tensor, attention: Attention) -> torch.dtype:
    """Return the dtype of the sums of the channel-wise half."""
    return wide_dtype(e.device) if attention.score_norm == "cosine" else sum_dtype(e)


def _of_temperature(half: ChannelParameters | SliceParameters, gradient: Tensor | None) -> list[Tensor]:
    """Return the gradient of a temperature, if there is one: 0 if it is not used."""
    if half.temperature is None:
        return []
    return [torch.zeros_like(half.temperature) if gradient is None else gradient.to(half.temperature.dtype)]


def _channel_scores(
    channel: ChannelParameters,
    weights: ChannelWeights,
    queries: Tensor,
    sums: ChannelSums,
    e: Tensor,
    attention: Attention,
) -> Scores:
    """Return the scores of the channels, in the dtype of the sums; `queries` are W~q U~ E~^T."""
    squares = None
    if sums.uu is not None and sums.ee is not None:
        squares = projected_squares(weights.q, sums.uu), projected_squares(weights.k, sums.ee)
    length = e.shape[2:].numel()
    return Scores(queries @ weights.k.mT, length, attention.score_norm, squares, channel.temperature)


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
    how: Implementation,
    channel: ChannelParameters,
    weights: ChannelWeights,
    sums: ChannelSums,
    e: Tensor,
    centers: Centers | None,
    dbias_and_p: Tensor,
    attention: Attention,
) -> tuple[Tensor, ChannelSums, ChannelWeights, Tensor | None, list[Tensor]]:
    """Return P, and the gradients of the sums of the maps, centers included, and of all parameters."""
    wq, wk, wv = weights
    queries = wq @ sums.ue
    scores = _channel_scores(channel, weights, queries, sums, e, attention)
    d = dbias_and_p.to(wv.dtype)
    dcorrected = d @ wv.mT
    m, dscores, dsquares, dtemperature = how.attention_backward(
        mixture.map_gradient(channel, dcorrected), scores, wv.dtype
    )
    of_values = mixture.corrected(channel, m)
    p = of_values.to(dbias_and_p.dtype) @ channel.v_weight.to(dbias_and_p.dtype)
    if channel.static is not None:
        p = p + channel.static.weight.to(p.dtype)
    of_static = mixture.static_gradients(channel, m, dcorrected, d, None if centers is None else centers.e)
    dkeys = dscores @ wk
    dwq, dwk, dwv, due = dkeys @ sums.ue.mT, dscores.mT @ queries, of_values.mT @ d, wq.mT @ dkeys
    duu = dee = None
    if dsquares is not None and sums.uu is not None and sums.ee is not None:
        by_q, by_k = dsquares[0][:, :, None] * wq, dsquares[1][:, :, None] * wk
        duu, dee = wq.mT @ by_q, wk.mT @ by_k
        dwq, dwk = dwq + 2 * (by_q @ sums.uu), dwk + 2 * (by_k @ sums.ee)
    if centers is not None:
        shift_sums_gradient_(due, centers.u, centers.e, (-1, 0))
        if duu is not None and dee is not None:
            shift_sums_gradient_(duu, centers.u, centers.u, (-1, -1))
            shift_sums_gradient_(dee, centers.e, centers.e, (0, 0))
    return p, ChannelSums(due, duu, dee), ChannelWeights(dwq, dwk, dwv), dtemperature, of_static


def _slice_backward(
    how: Implementation, slices: SliceParameters, sums: Sequence[Tensor], single: Tensor, attention: Attention
) -> tuple[Tensor, Tensor | None]:
    """Return dq, dk, dv and o from q, k, do and v, (b, 4, d, p), in the same memory on a CPU; and dtemperature."""
    length = single.shape[-1]
    scores = _slice_scores(slices, sums, length, attention)
    dm = (single[:, 2] @ single[:, 3].mT).to(sums[0].dtype)
    m, dqk, dsquares, dtemperature = how.attention_backward(dm, scores, single.dtype)
    m = m.to(single.dtype)
    if not single.is_cpu:
        # Single-channel maps are small beside the memory of a GPU, and each call takes its time.
        results = torch.empty_like(single)
        for i, factor, j in ((0, dqk, 1), (1, dqk.mT, 0), (2, m.mT, 2), (3, m, 3)):
            torch.bmm(factor, single[:, j], out=results[:, i])
        _add_squares(results.unbind(1), single, dsquares)
        return results, dtemperature
    for part in torch.split(single, _part(single), -1):
        q, k, do, v = part.unbind(1)
        dq, dk = dqk @ k, dqk.mT @ q
        _add_squares((dq, dk), part, dsquares)
        for x, product in ((q, dq), (k, dk), (do, m.mT @ do), (v, m @ v)):
            x.copy_(product)
    return single, dtemperature


def _add_squares(products: Sequence[Tensor], single: Tensor, dsquares: softmax.Squares | None) -> None:
    """Add to dq and dk what comes from the squared lengths of q and k, for `cosine`."""
    for product, x, gradient in zip(products, single.unbind(1), dsquares or (), strict=False):
        product += 2 * gradient[:, :, None].to(x.dtype) * x
