"""From scores to attention and back, on matrices as small as channels x channels or slices x slices."""

import torch
from jaxtyping import Float
from torch import Tensor

from crossattn3d.kernels.parameters import EPS, ScoreNorm


def attention_map(
    scores: Float[Tensor, "b n n"],
    length: int,
    score_norm: ScoreNorm,
    squares: tuple[Float[Tensor, "b n"], Float[Tensor, "b n"]] | None = None,
    temperature: Tensor | None = None,
) -> Float[Tensor, "b n n"]:
    """Return softmax(s(Q K^T)).

    Args:
        scores: Q K^T.
        length: number of terms of each score.
        score_norm: s.
        squares: for `cosine`, the squared lengths of the rows of Q and of K.
        temperature: for `cosine`.
    """
    if score_norm == "cosine" and squares is not None and temperature is not None:
        return (temperature.to(scores.dtype) * scores / _lengths(squares)).softmax(-1)
    if score_norm == "instance":
        return _standardized(scores / length)[0].softmax(-1)
    return (scores / _divisor(length, score_norm)).softmax(-1)


def attention_backward(
    dm: Float[Tensor, "b n n"],
    m: Float[Tensor, "b n n"],
    scores: Float[Tensor, "b n n"],
    length: int,
    score_norm: ScoreNorm,
    squares: tuple[Float[Tensor, "b n"], Float[Tensor, "b n"]] | None = None,
    temperature: Tensor | None = None,
) -> tuple[Float[Tensor, "b n n"], tuple[Float[Tensor, "b n"], Float[Tensor, "b n"]] | None, Tensor | None]:
    """Return the gradients of scores, squares and temperature, given that of `m`, which `attention_map` returned."""
    dx = m * (dm - (dm * m).sum(-1, keepdim=True))
    if score_norm == "cosine" and squares is not None and temperature is not None:
        lengths = _lengths(squares)
        along = dx * scores / lengths
        d_log = -0.5 * temperature.to(scores.dtype) * along
        q, k = (torch.where(x >= EPS**2, d_log.sum(dim) / x, 0) for x, dim in zip(squares, (-1, -2), strict=True))
        return temperature.to(scores.dtype) * dx / lengths, (q, k), along.sum()
    if score_norm == "instance":
        x, root = _standardized(scores / length)
        centered = dx - dx.mean((-2, -1), keepdim=True) - x * (dx * x).mean((-2, -1), keepdim=True)
        return centered * root / length, None, None
    return dx / _divisor(length, score_norm), None, None


def _divisor(length: int, score_norm: ScoreNorm) -> float:
    return float(length**0.5 if score_norm == "sqrt" else length if score_norm == "mean" else 1)


def _standardized(scores: Float[Tensor, "b n n"]) -> tuple[Float[Tensor, "b n n"], Float[Tensor, "b 1 1"]]:
    """Return scores of mean 0 and variance 1 per sample, and the factor that scaled them."""
    variance, mean = torch.var_mean(scores, dim=(-2, -1), correction=0, keepdim=True)
    root = torch.rsqrt(variance + EPS)
    return (scores - mean) * root, root


def _lengths(squares: tuple[Float[Tensor, "b n"], Float[Tensor, "b n"]]) -> Float[Tensor, "b n n"]:
    """Return |q_i| |k_j|, each at least EPS, as `torch.nn.functional.normalize` bounds it."""
    q, k = (x.clamp_min(EPS**2).sqrt() for x in squares)
    return q[:, :, None] * k[:, None, :]
