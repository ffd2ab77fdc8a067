"""Maps less a center of each channel, so that sums of products keep their digits where a common offset cancels.

With U = U' + mu 1^T, W U + b 1^T = W U' + (b + W mu) 1^T: the same projections with other biases, one for each sample.
Any mu is right; the nearer it is to the mean, the smaller are the sums that scores are the difference of.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from crossattn3d.kernels.layout import sum_dtype, wide_dtype

#: Runs of voxels that a center is taken from, and the voxels of each: of float32, a cache line.
RUNS, RUN = 16, 16


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


def with_biases(
    pairs: Sequence[tuple[Float[Tensor, "_ i"], Float[Tensor, " _"]]], dtype: torch.dtype, center: Tensor | None = None
) -> tuple[Float[Tensor, "*b _ _"], ...]:
    """Return W~ of each pair, the weight with the bias as the last column, for the map less its center.

    Args:
        pairs: weights, (o, i), and biases, (o,), of projections of one map.
        dtype: of the results.
        center: of the map, (b, i); None for 0.

    Returns:
        (b, o, i+1) each, (o, i+1) without a center.
    """
    weight, bias = (torch.cat(parts) for parts in zip(*pairs, strict=True))
    widths = [len(of_pair) for _, of_pair in pairs]
    if center is None:
        return torch.split(torch.cat([weight, bias[:, None]], dim=1).to(dtype), widths, -2)
    # W mu may be large and b nearly -W mu. An error here would be the same in all voxels, unlike those of a projection.
    # Runtimes that nets are exported to may lack float64; without it gradients would suffer, outputs hardly.
    wide = dtype if torch.compiler.is_exporting() else wide_dtype(weight.device)
    shifted = bias.to(wide) + center.to(wide) @ weight.to(wide).mT
    both = torch.cat([weight.to(dtype).expand(center.shape[0], -1, -1), shifted[:, :, None].to(dtype)], dim=2)
    return torch.split(both, widths, -2)


def weight_and_bias_gradients(
    gradient: Float[Tensor, "b o n"], center: Tensor | None
) -> tuple[Float[Tensor, "o n-1"], Float[Tensor, " o"]]:
    """Return the gradients of weight and bias from that of what `with_biases` returned, sample by sample."""
    of_weight, of_bias = gradient[:, :, :-1], gradient[:, :, -1]
    if center is not None:
        of_weight = of_weight + of_bias[:, :, None] * center[:, None].to(gradient.dtype)
    return of_weight.sum(0), of_bias.sum(0)


def sums_gradient(
    gradient: Float[Tensor, "b m n"], a: Float[Tensor, "b _"], b: Float[Tensor, "b _"]
) -> Float[Tensor, "b m n"]:
    """Return the gradient of [A; 1] [B; 1]^T from that of the same of the maps less their centers `a` and `b`."""
    last = gradient[:, :, -1:] - gradient[:, :, :-1] @ b[:, :, None].to(gradient.dtype)
    gradient = torch.cat([gradient[:, :, :-1], last], 2)
    return torch.cat([gradient[:, :-1], gradient[:, -1:] - a[:, None].to(gradient.dtype) @ gradient[:, :-1]], 1)
