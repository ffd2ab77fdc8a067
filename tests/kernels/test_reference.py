"""The reference kernel against the equations computed one product at a time."""

import numpy as np
import pytest
import torch

from crossattn3d.functional import SCORE_NORMS
from crossattn3d.kernels import reference, softmax
from crossattn3d.kernels.parameters import Attention
from support import equations_in_loops
from support.random_parameters import assert_close, channel_parameters, maps, slice_parameters

SIZE = (3, 2, 4)
QUERY, CONTEXT, WIDTH = 2, 4, 3


def as_tensor(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(array)


@pytest.mark.parametrize("score_norm", SCORE_NORMS)
def test_channel_wise_equals_the_loops(score_norm):
    query, context = maps(1, 2, QUERY, CONTEXT, SIZE)
    p = channel_parameters(2, QUERY, CONTEXT, WIDTH)
    out, attention = equations_in_loops.channel_cross_attention(query.numpy(), context.numpy(), p, score_norm)
    assert attention.shape == (2, WIDTH, WIDTH)
    assert_close(reference.channel_attention(query, context, p, score_norm), as_tensor(attention), 1e-12)
    actual = reference.cross_attention(query, context, p, None, Attention(score_norm, False, -3, "auto"))
    assert_close(actual, as_tensor(out), 1e-12)


@pytest.mark.parametrize("slice_dim", [-3, -2, -1])
@pytest.mark.parametrize("score_norm", SCORE_NORMS)
def test_slice_wise_equals_the_loops(score_norm, slice_dim):
    query, context = maps(3, 2, QUERY, CONTEXT, SIZE)
    p = slice_parameters(4, QUERY, CONTEXT, WIDTH)
    out, attention = equations_in_loops.slice_cross_attention(query.numpy(), context.numpy(), p, score_norm, slice_dim)
    assert attention.shape == (2, SIZE[slice_dim], SIZE[slice_dim])
    assert_close(reference.slice_attention(query, context, p, score_norm, slice_dim), as_tensor(attention), 1e-12)
    actual = reference.cross_attention(query, context, None, p, Attention(score_norm, False, slice_dim, "auto"))
    assert_close(actual, as_tensor(out), 1e-12)


@pytest.mark.parametrize("residual", [False, True])
def test_both_parts_and_the_residual_add_up(residual):
    query, context = maps(5, 2, WIDTH, CONTEXT, SIZE)
    channel, slices = channel_parameters(6, WIDTH, CONTEXT, WIDTH), slice_parameters(7, WIDTH, CONTEXT, WIDTH)
    expected = equations_in_loops.channel_cross_attention(query.numpy(), context.numpy(), channel, "sqrt")[0]
    expected += equations_in_loops.slice_cross_attention(query.numpy(), context.numpy(), slices, "sqrt", -2)[0]
    expected += query.numpy() if residual else 0
    actual = reference.cross_attention(query, context, channel, slices, Attention("sqrt", residual, -2, "auto"))
    assert_close(actual, as_tensor(expected), 1e-12)


def test_the_normalizations_all_differ():
    query, context = maps(1, 1, QUERY, CONTEXT, SIZE)
    p = channel_parameters(2, QUERY, CONTEXT, WIDTH)
    attentions = [reference.channel_attention(query, context, p, score_norm) for score_norm in SCORE_NORMS]
    for i, one in enumerate(attentions):
        assert all((one - other).abs().max() > 1e-3 for other in attentions[:i])


def test_a_constant_feature_map_stays_finite_under_cosine():
    """Queries and keys of length zero: bounded, as in torch.nn.functional.normalize."""
    zeros = torch.zeros(1, 3, 2, 3, 4, dtype=torch.float64, requires_grad=True)
    p = channel_parameters(0, 3, 3, 3)
    p = p._replace(q_bias=torch.zeros_like(p.q_bias), k_bias=torch.zeros_like(p.k_bias))
    attention = reference.channel_attention(zeros, zeros, p, "cosine")
    assert_close(attention, torch.full_like(attention, 1 / 3), 1e-12)
    (gradient,) = torch.autograd.grad(attention.square().sum(), zeros)
    assert torch.isfinite(gradient).all()


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("name", ["softmax", "Mean", "", "cosine"])
def test_an_unknown_normalization_is_refused(name):
    """Of `cosine`, which needs a temperature, not the formula without a normalization either."""
    q, k = torch.rand(1, 2, 5), torch.rand(1, 2, 5)
    with pytest.raises(ValueError, match=f"^score_norm: expected none, .*; got {name!r} and no temperature; give one"):
        reference.attention_map(q, k, None, name)
    with pytest.raises(ValueError, match=f"^score_norm: expected none, .*; got {name!r} without; give one of these$"):
        softmax.attention_map(softmax.Scores(q @ k.mT, 5, name))
