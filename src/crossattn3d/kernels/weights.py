"""The projections as matrices with their biases, for maps with a row of ones, and back to gradients of parameters.

    W~q = [Wq bq] for U~ = [U; 1],      W~k = [bk Wk] and W~v = [bv Wv] for E~ = [1; E],

side by side in one matrix, whose last row is that of the slice-wise half: off the CPU, each call takes its time.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from crossattn3d.kernels.centers import Centers, blocks_of, shift_biases, shift_gradients
from crossattn3d.kernels.parameters import ChannelParameters, SliceParameters


class ChannelWeights(NamedTuple):
    """W~q, (..., c, cu+1), W~k and W~v, (..., c, 1+ce); or their gradients."""

    q: Tensor
    k: Tensor
    v: Tensor


class SliceWeights(NamedTuple):
    """W~q, (..., cu+1), W~k and W~v, (..., 2, 1+ce), and the projection from one channel, (..., c); or gradients."""

    q: Tensor
    kv: Tensor
    out: Tensor


class Packed(NamedTuple):
    """The projections of both halves.

    Attributes:
        matrix: [Wq bq bk Wk bv Wv], (..., rows, cu + 1 + 2 (1 + ce)): c rows of one half, one of the other, or both.
        channels: c of the channel-wise half, 0 without it.
        query_channels: cu.
        out: weight of the projection from one channel, (c, 1), if there are slices.
    """

    matrix: Tensor
    channels: int
    query_channels: int
    out: Tensor | None

    def less(self, centers: Centers | None, dtype: torch.dtype) -> "Packed":
        """Return the projections of the maps less their centers, (batch, ...), in `dtype`."""
        if centers is None:
            return self
        return Packed(shift_biases(self.matrix, centers, dtype), self.channels, self.query_channels, self.out)

    def of_channels(self, batch: int, dtype: torch.dtype) -> ChannelWeights:
        """Return the weights of the channel-wise half for each sample of a batch."""
        rows = self.matrix[..., : self.channels, :].to(dtype)
        return ChannelWeights(*blocks_of(rows.expand(batch, -1, -1), self.query_channels))

    def of_slices(self, dtype: torch.dtype) -> SliceWeights | None:
        """Return the weights of the slice-wise half, if there is one."""
        if self.out is None:
            return None
        row = self.matrix[..., -1, :].to(dtype)
        q, kv = row[..., : self.query_channels + 1], row[..., self.query_channels + 1 :]
        return SliceWeights(q, kv.reshape(*kv.shape[:-1], 2, kv.shape[-1] // 2), self.out[:, 0].to(row.dtype))


def pack(channel: ChannelParameters | None, slices: SliceParameters | None) -> Packed:
    """Return the projections of the halves that there are."""
    halves = [half for half in (channel, slices) if half is not None]
    columns = [columns_of(half) for half in halves]
    if len(halves) == 1:
        matrix = torch.cat(columns[0], 1)
    else:
        dtype = _common_dtype([x for of_half in columns for x in of_half])
        rows, width = sum(len(h.q_weight) for h in halves), sum(x.shape[1] for x in columns[0])
        matrix = halves[0].q_weight.new_empty((rows, width), dtype=dtype)
        for of_half, part in zip(columns, (matrix[:-1], matrix[-1:]), strict=True):
            torch.cat(of_half, 1, out=part)
    channels = 0 if channel is None else len(channel.q_weight)
    return Packed(matrix, channels, halves[0].q_weight.shape[1], None if slices is None else slices.out_weight)


def columns_of(half: ChannelParameters | SliceParameters) -> list[Tensor]:
    """Return what makes up [Wq bq bk Wk bv Wv]."""
    q_bias, k_bias, v_bias = (bias[:, None] for bias in (half.q_bias, half.k_bias, half.v_bias))
    return [half.q_weight, q_bias, k_bias, half.k_weight, v_bias, half.v_weight]


def channel_gradients(
    channel: ChannelParameters, gradients: ChannelWeights, centers: Centers | None
) -> tuple[Tensor, ...]:
    """Return the gradients of the parameters but the temperature, from those of the weights of each sample."""
    matrix = torch.cat(gradients, 2)
    if centers is not None:
        matrix = shift_gradients(matrix, centers)
    q, q_bias, k, k_bias, v, v_bias, *_ = channel
    rows = len(q_bias)
    dq, dq_bias, dk_bias, dk, dv_bias, dv = _gradients_of(matrix, rows, (q, q_bias, k_bias, k, v_bias, v))
    return dq, dq_bias, dk, dk_bias, dv, dv_bias


def slice_gradients(slices: SliceParameters, gradients: SliceWeights, dbias: Tensor) -> tuple[Tensor, ...]:
    """The same of the slice-wise half; `dbias`, (b, c), is the gradient of its last bias."""
    flat = torch.cat([gradients.q, gradients.kv.flatten(1), gradients.out, dbias], 1)
    q, q_bias, k, k_bias, v, v_bias, out, out_bias, _ = slices
    dq, dq_bias, dk_bias, dk, dv_bias, dv, *others = _gradients_of(
        flat[:, None], 1, (q, q_bias, k_bias, k, v_bias, v, out, out_bias)
    )
    return dq, dq_bias, dk, dk_bias, dv, dv_bias, *others


def _gradients_of(gradient: Tensor, rows: int, parameters: Sequence[Tensor]) -> list[Tensor]:
    """Return the columns of (b, rows, n), summed over the samples, as tensors like the parameters."""
    x = (gradient[0] if len(gradient) == 1 else gradient.sum(0)).to(_common_dtype(parameters))
    widths = [p.numel() // rows for p in parameters]
    blocks = [x.new_empty((rows, width)) for width in widths]
    # One launch on CUDA, where copies of views would be one each.
    torch.split_with_sizes_copy(x, widths, 1, out=blocks)
    return [block.view(p.shape).to(p.dtype) for block, p in zip(blocks, parameters, strict=True)]


def _common_dtype(tensors: Sequence[Tensor]) -> torch.dtype:
    return functools.reduce(torch.promote_types, {x.dtype for x in tensors})
