"""From scores to attention and back, on matrices as small as channels x channels or slices x slices."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from crossattn3d.kernels.parameters import EPS, ScoreNorm

#: Squared lengths of the rows of Q and of K.
Squares = tuple[Float[Tensor, "b n"], Float[Tensor, "b n"]]


class Scores(NamedTuple):
    """Q K^T, and what normalizes it.

    Args:
        products: Q K^T.
        length: number of terms of each score.
        score_norm: s.
        squares: for `cosine`, the squared lengths of the rows of Q and of K.
        temperature: for `cosine`.
    """

    products: Float[Tensor, "b n n"]
    length: int
    score_norm: ScoreNorm
    squares: Squares | None = None
    temperature: Tensor | None = None


def attention_map(scores: Scores) -> Float[Tensor, "b n n"]:
    """Return softmax(s(Q K^T))."""
    products, length, score_norm, squares, temperature = scores
    if score_norm == "cosine" and squares is not None and temperature is not None:
        return (temperature.to(products.dtype) * products / _lengths(squares)).softmax(-1)
    if score_norm == "instance":
        return _standardized(products / length)[0].softmax(-1)
    return (products / _divisor(length, score_norm)).softmax(-1)


def attention_backward(
    dm: Float[Tensor, "b n n"], m: Float[Tensor, "b n n"], scores: Scores, dtype: torch.dtype
) -> tuple[Float[Tensor, "b n n"], Squares | None, Tensor | None]:
    """Return the gradients of products, squares and temperature, the first in `dtype`.

    Args:
        dm: gradient of m.
        m: what `attention_map` returned.
        scores: what it was given.
        dtype: in which the gradient of the products is used.
    """
    products, length, score_norm, squares, temperature = scores
    dx = m * (dm - (dm * m).sum(-1, keepdim=True))
    if score_norm == "cosine" and squares is not None and temperature is not None:
        lengths = _lengths(squares)
        of_products = (temperature.to(products.dtype) * dx / lengths).to(dtype)
        # Of the rounded gradient: along a query, both must cancel to the last digit.
        d_log = -0.5 * of_products.to(products.dtype) * products
        q, k = (torch.where(x >= EPS**2, d_log.sum(dim) / x, 0) for x, dim in zip(squares, (-1, -2), strict=True))
        return of_products, (q, k), (dx * products / lengths).sum()
    if score_norm == "instance":
        x, root = _standardized(products / length)
        # The mean last: features with a large offset meet the gradients' sum, which is 0 but for rounding.
        gradient = dx - x * (dx * x).mean((-2, -1), keepdim=True)
        return ((gradient - gradient.mean((-2, -1), keepdim=True)) * root / length).to(dtype), None, None
    return (dx / _divisor(length, score_norm)).to(dtype), None, None


def _divisor(length: int, score_norm: ScoreNorm) -> float:
    return float(length**0.5 if score_norm == "sqrt" else length if score_norm == "mean" else 1)


def _standardized(scores: Float[Tensor, "b n n"]) -> tuple[Float[Tensor, "b n n"], Float[Tensor, "b 1 1"]]:
    """Return scores of mean 0 and variance 1 per sample, and the factor that scaled them."""
    variance, mean = torch.var_mean(scores, dim=(-2, -1), correction=0, keepdim=True)
    root = torch.rsqrt(variance + EPS)
    return (scores - mean) * root, root


def _lengths(squares: Squares) -> Float[Tensor, "b n n"]:
    """Return |q_i| |k_j|, each at least EPS, as `torch.nn.functional.normalize` bounds it."""
    q, k = (x.clamp_min(EPS**2).sqrt() for x in squares)
    return q[:, :, None] * k[:, None, :]
