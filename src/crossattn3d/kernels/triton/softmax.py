"""The softmax of scores and its derivative for matrices of one sample each, in one launch instead of a dozen.

`softmax.attention_map` and `attention_backward` have the formulas; here they are for float32 and all but `cosine`.
"""
# mypy: ignore-errors
# ruff: noqa: N803
# Triton reads the source of these functions and needs them undecorated by type checkers: hence `no_type_check`.

from contextlib import nullcontext
from typing import no_type_check

import torch
import triton
import triton.language as tl

from crossattn3d.kernels import softmax
from crossattn3d.kernels.parameters import EPS
from crossattn3d.kernels.softmax import Scores, divisor

#: Rows up to which one program, which takes one sample, is fast.
MOST_ROWS = 256
#: Values that a program takes at a time.
VALUES = 8192


@triton.jit
@no_type_check
def load_rows(x, first, columns, n, BR: tl.constexpr):
    """Rows first .. first + BR of an n x n matrix, 0 outside, and which values are inside."""
    rows = first + tl.arange(0, BR)
    inside = (rows < n)[:, None] & (columns < n)[None, :]
    return tl.load(x + rows[:, None] * n + columns[None, :], mask=inside, other=0.0), inside


@triton.jit
@no_type_check
def store_rows(x, values, first, columns, n, BR: tl.constexpr):
    """The inverse of `load_rows`."""
    rows = first + tl.arange(0, BR)
    inside = (rows < n)[:, None] & (columns < n)[None, :]
    tl.store(x + rows[:, None] * n + columns[None, :], values, mask=inside)


@triton.jit
@no_type_check
def mean_and_root(products, scale, n, columns, EPS: tl.constexpr, BR: tl.constexpr):
    """Mean of the scores of a sample, and 1 / sqrt(variance + EPS)."""
    mean, variance = 0.0, 0.0
    for first in range(0, n, BR):
        x, inside = load_rows(products, first, columns, n, BR)
        mean += tl.sum(tl.sum(x * scale, 1), 0)
    mean = mean / n / n
    for first in range(0, n, BR):
        x, inside = load_rows(products, first, columns, n, BR)
        x = tl.where(inside, x * scale - mean, 0.0)
        variance += tl.sum(tl.sum(x * x, 1), 0)
    return mean, 1.0 / tl.sqrt_rn(variance / n / n + EPS)


@triton.jit
@no_type_check
def softmax_of(x, inside):
    """The softmax of each row, 0 outside."""
    is_row = tl.max(inside.to(tl.int32), 1) > 0
    x = tl.where(inside, x, float("-inf"))
    x = tl.exp(x - tl.where(is_row, tl.max(x, 1), 0.0)[:, None])
    return x / tl.where(is_row, tl.sum(x, 1), 1.0)[:, None]


@triton.jit
@no_type_check
def forward(products, m, n, scale, INSTANCE: tl.constexpr, EPS: tl.constexpr, BR: tl.constexpr, BN: tl.constexpr):
    """The attention map of a sample, from scale x products, (batch, n, n)."""
    at, columns = tl.program_id(0).to(tl.int64) * n * n, tl.arange(0, BN)
    mean, root = 0.0, 1.0
    if INSTANCE:
        mean, root = mean_and_root(products + at, scale, n, columns, EPS, BR)
    for first in range(0, n, BR):
        x, inside = load_rows(products + at, first, columns, n, BR)
        store_rows(m + at, softmax_of((x * scale - mean) * root, inside), first, columns, n, BR)


@triton.jit
@no_type_check
def gradient_of(products, dm, first, columns, n, scale, mean, root, BR: tl.constexpr):
    """Some rows of the map, of the gradient of the normalized scores, and of these."""
    x, inside = load_rows(products, first, columns, n, BR)
    x = tl.where(inside, (x * scale - mean) * root, 0.0)
    m = softmax_of(x, inside)
    dm, inside = load_rows(dm, first, columns, n, BR)
    return m, m * (dm - tl.sum(dm * m, 1)[:, None]), x


@triton.jit
@no_type_check
def backward(
    products, dm, m, dproducts, n, scale,
    INSTANCE: tl.constexpr, EPS: tl.constexpr, BR: tl.constexpr, BN: tl.constexpr,
):  # fmt: skip
    """The attention map of a sample again, and the gradient of its products from that of the map."""
    at, columns = tl.program_id(0).to(tl.int64) * n * n, tl.arange(0, BN)
    mean, root, along, rest = 0.0, 1.0, 0.0, 0.0
    if INSTANCE:
        mean, root = mean_and_root(products + at, scale, n, columns, EPS, BR)
        for first in range(0, n, BR):
            _, dx, x = gradient_of(products + at, dm + at, first, columns, n, scale, mean, root, BR)
            along += tl.sum(tl.sum(dx * x, 1), 0)
        along = along / n / n
        for first in range(0, n, BR):
            _, dx, x = gradient_of(products + at, dm + at, first, columns, n, scale, mean, root, BR)
            rest += tl.sum(tl.sum(dx - x * along, 1), 0)
        # The mean last: features with a large offset meet the gradients' sum, which is 0 but for rounding.
        rest = rest / n / n
    for first in range(0, n, BR):
        of_m, dx, x = gradient_of(products + at, dm + at, first, columns, n, scale, mean, root, BR)
        store_rows(m + at, of_m, first, columns, n, BR)
        store_rows(dproducts + at, (dx - x * along - rest) * (root * scale), first, columns, n, BR)


@no_type_check
def attention_map(scores: Scores) -> torch.Tensor:
    """Return softmax(s(Q K^T))."""
    if not _fits(scores):
        return softmax.attention_map(scores)
    products = scores.products.contiguous()
    m = torch.empty_like(products)
    _launch(forward, scores, products, m)
    return m


@no_type_check
def attention_backward(dm: torch.Tensor, scores: Scores, dtype: torch.dtype) -> softmax.Gradients:
    """Return the attention map again, and the gradients of products, squares and temperature."""
    if not _fits(scores) or dtype != torch.float32:
        return softmax.attention_backward(dm, scores, dtype)
    products, dm = scores.products.contiguous(), dm.contiguous()
    m, dproducts = torch.empty_like(products), torch.empty_like(products)
    _launch(backward, scores, products, dm, m, dproducts)
    return m, dproducts, None, None


def _fits(scores: Scores) -> bool:
    x = scores.products
    return scores.score_norm != "cosine" and x.dtype == torch.float32 and x.numel() > 0 and x.shape[-1] <= MOST_ROWS


def _launch(kernel, scores: Scores, *matrices: torch.Tensor) -> None:
    batch, n, _ = matrices[0].shape
    columns = triton.next_power_of_2(n)
    rows = min(columns, VALUES // columns)
    with torch.cuda.device(matrices[0].device) if matrices[0].is_cuda else nullcontext():
        kernel[(batch,)](
            *matrices, n, 1.0 / divisor(scores), INSTANCE=scores.score_norm == "instance", EPS=EPS, BR=rows, BN=columns,
            num_warps=8 if rows * columns > 1024 else 4,
        )  # fmt: skip
