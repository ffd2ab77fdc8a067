"""Eq. 1 to 4 of the paper with one Python loop per index, in NumPy float64: shares no code with the package."""

import itertools
import math

import numpy as np
from numpy.typing import NDArray

from crossattn3d.functional import ChannelParameters, SliceParameters

Array = NDArray[np.float64]


def channel_cross_attention(query: Array, context: Array, p: ChannelParameters, score_norm: str) -> tuple[Array, Array]:
    """Output and attention map of each sample."""
    outputs, attentions = [], []
    for u, e in zip(query, context, strict=True):
        voxels = list(itertools.product(*map(range, u.shape[1:])))
        q = [[_project(p.q_weight[i], p.q_bias[i], u[:, *at]) for at in voxels] for i in range(len(p.q_bias))]
        k = [[_project(p.k_weight[i], p.k_bias[i], e[:, *at]) for at in voxels] for i in range(len(p.k_bias))]
        attention = _attention(q, k, score_norm, p.temperature)
        out = np.zeros((len(p.v_bias), *u.shape[1:]))
        for i, j in itertools.product(range(len(attention)), repeat=2):
            for at in voxels:
                out[i, *at] += attention[i][j] * _project(p.v_weight[j], p.v_bias[j], e[:, *at])
        outputs.append(out)
        attentions.append(attention)
    return np.array(outputs), np.array(attentions)


def slice_cross_attention(
    query: Array, context: Array, p: SliceParameters, score_norm: str, slice_dim: int
) -> tuple[Array, Array]:
    """Output and attention map of each sample; `slice_dim` is -3, -2 or -1."""
    outputs, attentions = [], []
    for u, e in zip(query, context, strict=True):
        sizes = list(u.shape[1:])
        depth = sizes.pop(slice_dim)
        positions = list(itertools.product(*map(range, sizes)))

        def voxel(slice_: int, position: tuple[int, ...]) -> tuple[int, ...]:
            at = list(position)
            at.insert({-3: 0, -2: 1, -1: 2}[slice_dim], slice_)
            return tuple(at)

        q = [[_project(p.q_weight[0], p.q_bias[0], u[:, *voxel(s, at)]) for at in positions] for s in range(depth)]
        k = [[_project(p.k_weight[0], p.k_bias[0], e[:, *voxel(s, at)]) for at in positions] for s in range(depth)]
        attention = _attention(q, k, score_norm, p.temperature)
        out = np.zeros((len(p.out_bias), *u.shape[1:]))
        for s, at in itertools.product(range(depth), positions):
            mixed = 0.0
            for t in range(depth):
                mixed += attention[s][t] * _project(p.v_weight[0], p.v_bias[0], e[:, *voxel(t, at)])
            for c in range(len(p.out_bias)):
                out[c, *voxel(s, at)] = float(p.out_weight[c, 0]) * mixed + float(p.out_bias[c])
        outputs.append(out)
        attentions.append(attention)
    return np.array(outputs), np.array(attentions)


def _project(weight: object, bias: object, features: Array) -> float:
    return sum(float(w) * float(x) for w, x in zip(weight, features, strict=True)) + float(bias)  # type: ignore


def _attention(q: list[list[float]], k: list[list[float]], score_norm: str, temperature: object) -> list[list[float]]:
    length = len(q[0])
    scores = [[sum(a * b for a, b in zip(qi, kj, strict=True)) for kj in k] for qi in q]
    n = len(scores)
    if score_norm == "cosine":
        q_norms = [math.sqrt(sum(a * a for a in qi)) for qi in q]
        k_norms = [math.sqrt(sum(a * a for a in kj)) for kj in k]
        scores = [
            [float(temperature) * scores[i][j] / (q_norms[i] * k_norms[j]) for j in range(n)]  # type: ignore
            for i in range(n)
        ]
    elif score_norm == "sqrt":
        scores = [[x / math.sqrt(length) for x in row] for row in scores]
    elif score_norm in ("mean", "instance"):
        scores = [[x / length for x in row] for row in scores]
    if score_norm == "instance":
        mean = sum(map(sum, scores)) / n**2
        variance = sum((x - mean) ** 2 for row in scores for x in row) / n**2
        scores = [[(x - mean) / math.sqrt(variance + 1e-5) for x in row] for row in scores]
    return [[math.exp(x - max(row)) / sum(math.exp(y - max(row)) for y in row) for x in row] for row in scores]
