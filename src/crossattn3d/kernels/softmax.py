"""From scores to attention and back, on matrices as small as channels x channels or slices x slices."""

from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from crossattn3d.kernels.parameters import EPS, SCORE_NORMS, ScoreNorm

#: Squared lengths of the rows of Q and of K.
Squares = tuple[Float[Tensor, "b n"], Float[Tensor, "b n"]]
#: softmax(s(Q K^T)), and the gradients of Q K^T, of the squared lengths and of the temperature.
Gradients = tuple[Float[Tensor, "b n n"], Float[Tensor, "b n n"], Squares | None, Tensor | None]


class Scores(NamedTuple):
    """Q K^T, and what normalizes it.

    Attributes:
        products: Q K^T.
        length: number of terms of each score.
        score_norm: s.
        squares: for `cosine`, the squared lengths of the rows of Q and of K.
        temperature: for `cosine`.
    """

    products: Float[Tensor, "b n n"]
    length: Any
    score_norm: ScoreNorm
    squares: Squares | None = None
    temperature: Tensor | None = None


def attention_map(scores: Scores) -> Float[Tensor, "b n n"]:
    """Return softmax(s(Q K^T))."""
    products, _, score_norm, squares, temperature = scores
    if score_norm == "cosine" and squares is not None and temperature is not None:
        return (temperature.to(products.dtype) * products / _lengths(squares)).softmax(-1)
    x = products / divisor(scores)
    return (_standardized(x)[0] if score_norm == "instance" else x).softmax(-1)


def attention_backward(dm: Float[Tensor, "b n n"], scores: Scores, dtype: torch.dtype) -> Gradients:
    """Return the attention map again, and the gradients of products, squares and temperature.

    Args:
        dm: gradient of the map.
        scores: what `attention_map` was given.
        dtype: in which the gradient of the products is used, and returned.
    """
    products, _, score_norm, squares, temperature = scores
    m = attention_map(scores)
    dx = m * (dm - (dm * m).sum(-1, keepdim=True))
    if score_norm == "cosine" and squares is not None and temperature is not None:
        lengths = _lengths(squares)
        of_products = (temperature.to(products.dtype) * dx / lengths).to(dtype)
        # Of the rounded gradient: along a query, both must cancel to the last digit.
        d_log = -0.5 * of_products.to(products.dtype) * products
        q, k = (torch.where(x >= EPS**2, d_log.sum(dim) / x, 0) for x, dim in zip(squares, (-1, -2), strict=True))
        return m, of_products, (q, k), (dx * products / lengths).sum()
    if score_norm == "instance":
        x, root = _standardized(products / divisor(scores))
        # The mean last: features with a large offset meet the gradients' sum, which is 0 but for rounding.
        gradient = dx - x * (dx * x).mean((-2, -1), keepdim=True)
        return m, ((gradient - gradient.mean((-2, -1), keepdim=True)) * root / divisor(scores)).to(dtype), None, None
    return m, (dx / divisor(scores)).to(dtype), None, None


def divisor(scores: Scores) -> Any:
    """Return the number that the products are divided by first: while a model is exported, a symbol.

    Raises:
        ValueError: score_norm is unknown, or `cosine`, which needs the squared lengths and a temperature.
    """
    if scores.score_norm == "sqrt":
        # While a model is traced, a whole number that PyTorch would take the root of in float32.
        return (scores.length.double() if isinstance(scores.length, Tensor) else scores.length) ** 0.5
    if scores.score_norm in ("mean", "instance"):
        return scores.length
    if scores.score_norm != "none":
        raise ValueError(
            f"score_norm: expected {', '.join(SCORE_NORMS)}, cosine with squares and a temperature; got "
            f"{scores.score_norm!r} without; give one of these"
        )
    return 1


def _standardized(scores: Float[Tensor, "b n n"]) -> tuple[Float[Tensor, "b n n"], Float[Tensor, "b 1 1"]]:
    """Return scores of mean 0 and variance 1 per sample, and the factor that scaled them."""
    variance, mean = torch.var_mean(scores, dim=(-2, -1), correction=0, keepdim=True)
    root = torch.rsqrt(variance + EPS)
    return (scores - mean) * root, root


def _lengths(squares: Squares) -> Float[Tensor, "b n n"]:
    """Return |q_i| |k_j|, each at least EPS, as `torch.nn.functional.normalize` bounds it."""
    q, k = (x.clamp_min(EPS**2).sqrt() for x in squares)
    return q[:, :, None] * k[:, None, :]
