"""Maps less a center of each channel, so that sums of products keep their digits where a common offset cancels.

With U = U' + mu 1^T, W U + b 1^T = W U' + (b + W mu) 1^T: the same projections with other biases, one for each sample.
Any mu is right; the nearer it is to the mean, the smaller are the sums that scores are the difference of.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from crossattn3d.kernels.layout import sum_dtype, wide_dtype

#: Runs of voxels that a center is taken from, and the voxels of each: of float32, a cache line.
RUNS, RUN = 16, 16


class Centers(NamedTuple):
    """Values that are taken off each channel of U, (b, cu), and of E, (b, ce), before products are summed."""

    u: Tensor
    e: Tensor


def center_of(x: Float[Tensor, "b c x y z"]) -> Float[Tensor, "b c"]:
    """Return a value near the mean of each channel: the middle one of the means of a few runs of voxels.

    The middle one, since a single voxel far from all others would move their mean.
    """
    rows, dtype = x.flatten(2), sum_dtype(x)
    if not rows.numel():
        return rows.new_zeros(rows.shape[:2], dtype=dtype)
    step = max(1, rows.shape[2] // RUNS)
    means = rows.unfold(2, min(step, RUN), step).mean(-1, dtype=dtype)
    # Not `median`, which is not deterministic on CUDA.
    return means.sort(-1).values[..., means.shape[2] // 2]


def shifted_bias(
    weight: Float[Tensor, "o i"], bias: Float[Tensor, " o"], center: Float[Tensor, "b i"], dtype: torch.dtype
) -> Float[Tensor, "b o"]:
    """Return b + W mu, the bias of one projection for the map less its center, in `dtype`."""
    wide = _wide(weight, dtype)
    return (bias.to(wide) + center.to(wide) @ weight.to(wide).transpose(-2, -1)).to(dtype)


def shift_biases(matrix: Float[Tensor, "o n"], centers: Centers, dtype: torch.dtype) -> Float[Tensor, "b o n"]:
    """Return [Wq bq bk Wk bv Wv] for the maps less their centers, in `dtype`."""
    cu, wide = centers.u.shape[1], _wide(matrix, dtype)
    terms = matrix.to(wide) * _factors(centers, of_bias=1.0)[:, None].to(wide)
    of_q, of_k, of_v = (block.sum(-1, keepdim=True).to(dtype) for block in blocks_of(terms, cu))
    q, k, v = blocks_of(matrix.to(dtype).expand(terms.shape), cu)
    return torch.cat([q[..., :-1], of_q, of_k, k[..., 1:], of_v, v[..., 1:]], 2)


def shift_gradients(gradient: Float[Tensor, "b o n"], centers: Centers) -> Float[Tensor, "b o n"]:
    """Return the gradient of the matrix from that of what `shift_biases` returned."""
    q, k, v = blocks_of(gradient, centers.u.shape[1])
    biases = torch.cat([q[..., -1:].expand_as(q), k[..., :1].expand_as(k), v[..., :1].expand_as(v)], 2)
    return torch.addcmul(gradient, biases, _factors(centers, of_bias=0.0)[:, None].to(gradient.dtype))


def shift_sums_gradient_(gradient: Float[Tensor, "b m n"], a: Tensor, b: Tensor, ones: tuple[int, int]) -> None:
    """Turn the gradient of sums of products of maps less their centers into that of the same of the maps, in place.

    Args:
        gradient: of the products of A and of B, both with a row of ones.
        a: center of A, (batch, m-1).
        b: center of B, (batch, n-1).
        ones: place of the row of ones in A and in B, 0 or -1.
    """
    for x, center, place in zip((gradient.mT, gradient), (a, b), ones, strict=True):
        of_one, others = (x[:, :, :1], x[:, :, 1:]) if place == 0 else (x[:, :, -1:], x[:, :, :-1])
        of_one -= others @ center[:, :, None].to(x.dtype)


def blocks_of(matrix: Float[Tensor, "*b o n"], query_channels: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return [Wq bq], [bk Wk] and [bv Wv]."""
    of_others = matrix[..., query_channels + 1 :]
    k, v = torch.split(of_others, of_others.shape[-1] // 2, -1)
    return matrix[..., : query_channels + 1], k, v


def _wide(weight: Tensor, dtype: torch.dtype) -> torch.dtype:
    """Return the dtype in which W mu is added: it may be large and b nearly -W mu.

    An error in the sum would be the same in all voxels, unlike those of a projection. Runtimes that nets are exported
    to may lack float64; without it gradients would suffer, outputs hardly.
    """
    return dtype if torch.compiler.is_exporting() else wide_dtype(weight.device)


def _factors(centers: Centers, of_bias: float) -> Float[Tensor, "b n"]:
    """Return what multiplies the columns of a packed matrix in W mu + b, with another factor of b."""
    u, e = centers
    one = u.new_full((len(u), 1), of_bias)
    return torch.cat([u, one, one, e, one, e], 1)
