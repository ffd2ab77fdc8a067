"""The operation against the reference, with attention to what it leaves out and what float32 cancels."""

import copy

import pytest
import torch

from crossattn3d import CSCA, ChannelCrossAttention3d, SliceCrossAttention3d, functional
from crossattn3d.functional import SCORE_NORMS
from crossattn3d.kernels import operation, reference
from crossattn3d.kernels.gate.mixture import channel_parameters as channel_parameters_of
from crossattn3d.kernels.gate.mixture import channel_tensors
from crossattn3d.kernels.parameters import Attention, ChannelParameters
from support.backends import EVERY, FAST, needs_cpp
from support.output_and_gradients import output_and_gradients
from support.random_parameters import (
    assert_close,
    channel_parameters,
    correlated_maps,
    generator,
    maps,
    normal,
    randomize,
    slice_parameters,
    static_mixture,
)

SIZE = (3, 4, 5)


@pytest.mark.parametrize("backend", FAST)
@pytest.mark.parametrize("slice_dim", [-3, -2, -1])
@pytest.mark.parametrize("score_norm", SCORE_NORMS)
@pytest.mark.parametrize("widths", [(4, 4, True), (3, 5, False), (5, 2, False)])
def test_equals_the_reference_in_value_and_every_gradient(widths, score_norm, slice_dim, backend):
    query_channels, context_channels, residual = widths
    module = CSCA(query_channels, context_channels, score_norm=score_norm, residual=residual, slice_dim=slice_dim)
    module = randomize(module.double(), 1)
    query, context = maps(2, 2, query_channels, context_channels, SIZE)
    expected = output_and_gradients(module, query, context, "reference")
    actual = output_and_gradients(module, query, context, backend)
    assert actual.keys() == expected.keys()
    assert len(actual) == 3 + 14 + 2 * (score_norm == "cosine")
    for name, value in expected.items():
        assert_close(actual[name], value, 1e-9, name)


@pytest.mark.parametrize("kind", [CSCA, SliceCrossAttention3d])
@pytest.mark.parametrize("slice_dim", [-3, -1])
@pytest.mark.parametrize("score_norm", SCORE_NORMS)
@pytest.mark.parametrize("batch", [1, 3])
def test_equals_the_reference_where_no_map_is_on_a_cpu(batch, score_norm, slice_dim, kind, monkeypatch):
    """Off the CPU, gradients of single-channel maps are new tensors: here of maps that say that they are elsewhere."""
    module = randomize(kind(4, 6, score_norm=score_norm, slice_dim=slice_dim).double(), 1)
    query, context = maps(3, batch, 4, 6, (3, 5, 7))
    expected = output_and_gradients(module, query, context, "reference")
    monkeypatch.setattr(torch.Tensor, "is_cpu", False)
    actual = output_and_gradients(module, query, context, "torch")
    for name, value in expected.items():
        assert_close(actual[name], value, 1e-9, name)


@pytest.mark.parametrize("backend", FAST)
@pytest.mark.parametrize("mixed", [False, True], ids=["float32", "one in bfloat16"])
@pytest.mark.parametrize("score_norm", SCORE_NORMS)
def test_maps_in_float64_are_computed_in_float64_whatever_the_parameters_are_in(score_norm, mixed, backend):
    module = randomize(CSCA(4, 6, score_norm=score_norm), 1)
    if mixed:
        module.slices.to_out.weight.data = module.slices.to_out.weight.data.bfloat16()
        module.channel.to_key.bias.data = module.channel.to_key.bias.data.bfloat16()
    query, context = maps(3, 2, 4, 6, SIZE)
    expected = output_and_gradients(module, query, context, "reference")
    actual = output_and_gradients(module, query, context, backend)
    for name, value in expected.items():
        # Gradients of the parameters are rounded to what those are in.
        allowed = 1e-9 if value.dtype == torch.float64 else 4 * torch.finfo(value.dtype).eps
        assert actual[name].dtype == value.dtype
        assert_close(actual[name].double(), value.double(), allowed, name)


@pytest.mark.parametrize("backend", [*FAST, "reference"])
def test_an_attention_map_has_no_gradient_of_the_values(backend):
    channel = [p.requires_grad_() for p in channel_parameters(1, 3, 4, 3)[:6]]
    query, context = maps(3, 2, 3, 4, SIZE)
    shown = functional.channel_attention_map(query, context, ChannelParameters(*channel), backend=backend)
    shown.square().sum().backward()
    assert [p.grad is None for p in channel] == [False] * 4 + [True] * 2


@pytest.mark.parametrize("score_norm", SCORE_NORMS)
def test_the_gradients_compared_are_not_zero(score_norm):
    """Every parameter matters, so that the comparison above cannot pass on zeros."""
    module = randomize(CSCA(3, 5, score_norm=score_norm).double(), 1)
    gradients = output_and_gradients(module, *maps(2, 2, 3, 5, SIZE), "reference")
    # A key bias adds one number to all scores of a slice, which the softmax does not see.
    without_effect = {"slices.to_key.bias"} if score_norm in ("none", "sqrt", "mean") else set()
    for name, value in gradients.items():
        assert (value.abs().max() > 1e-6) == (name not in without_effect), name


@pytest.mark.parametrize("score_norm", SCORE_NORMS)
@pytest.mark.parametrize("width", [1, 3, 6])
def test_channel_parameters_of_another_width_than_the_maps(score_norm, width):
    query, context = maps(0, 2, 2, 4, SIZE)
    channel, slices = channel_parameters(1, 2, 4, width), slice_parameters(2, 2, 4, width)
    actual, expected = (
        kernel.cross_attention(query, context, channel, slices, Attention(score_norm, False, -3, "auto"))
        for kernel in (operation, reference)
    )
    assert expected.shape == (2, width, *SIZE)
    assert_close(actual, expected, 1e-10)


@pytest.mark.parametrize("score_norm", SCORE_NORMS)
@pytest.mark.parametrize("static", [False, True])
def test_gradcheck_channel_wise(static, score_norm):
    query, context = maps(3, 2, 2, 3, (2, 1, 3))
    p = channel_parameters(4, 2, 3, 2)
    if static:
        p = p._replace(static=static_mixture(5, 3, 2))
    used = channel_tensors(p if score_norm == "cosine" else p._replace(temperature=None))
    inputs = [t.requires_grad_() for t in (query, context, *used)]

    for kernel in (operation, reference):

        def run(q, e, *tensors, kernel=kernel):
            attention = Attention(score_norm, True, -3, "auto")
            return kernel.cross_attention(q, e, channel_parameters_of(tensors), None, attention)

        assert torch.autograd.gradcheck(run, inputs)


@pytest.mark.parametrize("slice_dim", [-3, -1])
@pytest.mark.parametrize("score_norm", SCORE_NORMS)
def test_gradcheck_slice_wise(score_norm, slice_dim):
    query, context = maps(5, 2, 2, 1, (3, 1, 2))
    p = slice_parameters(6, 2, 1, 2)
    used = p if score_norm == "cosine" else p[:-1]
    inputs = [t.requires_grad_() for t in (query, context, *used)]

    for kernel in (operation, reference):

        def run(q, e, *tensors, kernel=kernel):
            return kernel.cross_attention(q, e, None, type(p)(*tensors), Attention(score_norm, True, slice_dim, "auto"))

        assert torch.autograd.gradcheck(run, inputs)


def canceling(module: ChannelCrossAttention3d) -> ChannelCrossAttention3d:
    """Queries and keys that see only the differences between channels, for which the Gram matrix nearly cancels."""
    with torch.no_grad():
        for projection in (module.to_query, module.to_key):
            projection.weight -= projection.weight.mean(1, keepdim=True)
            projection.bias.zero_()
    return module


@pytest.mark.parametrize("backend", FAST)
@pytest.mark.parametrize("noise", [1e-1, 1e-2, 1e-3])
def test_cosine_in_float32_survives_cancellation(noise, backend):
    """In float32, the squared norms of these queries come out of the Gram matrix with no correct digit."""
    module = canceling(randomize(ChannelCrossAttention3d(6, 8, score_norm="cosine").double(), 3)).float()
    query, context = (x.float() for x in correlated_maps(4, 2, 6, 8, (5, 12, 14), noise))
    truth = output_and_gradients(copy.deepcopy(module).double(), query.double(), context.double(), "reference")
    actual = output_and_gradients(module, query, context, backend)
    plain = output_and_gradients(module, query, context, "reference")
    for name, value in truth.items():
        scale = value.abs().max()
        bound = 2 * (plain[name].double() - value).abs().max() + 1e-5 * scale
        assert (actual[name].double() - value).abs().max() <= bound, name


def test_that_case_does_cancel():
    """The squared norms in float32, as a naive Gram form has them, are wrong by more than a twentieth of the largest.

    Sums are rounded otherwise on other processors: by more than a tenth on some.
    """
    module = canceling(randomize(ChannelCrossAttention3d(6, 8, score_norm="cosine").double(), 3)).float()
    query, _ = (x.float() for x in correlated_maps(4, 2, 6, 8, (5, 12, 14), 1e-3))
    w, u = module.to_query.weight.detach().flatten(1), query.flatten(2)
    naive = ((w @ (u @ u.mT)) * w).sum(-1).double()
    true = (w.double() @ u.double()).square().sum(-1)
    assert (naive - true).abs().max() > 0.05 * true.max()


HALF = [
    (torch.bfloat16, "torch"),
    (torch.float16, "torch"),
    pytest.param(torch.bfloat16, "cpp", marks=needs_cpp),
]


@pytest.mark.parametrize(("dtype", "backend"), HALF)
@pytest.mark.parametrize("score_norm", ["sqrt", "mean", "cosine", "instance"])
@pytest.mark.parametrize("make", [ChannelCrossAttention3d, SliceCrossAttention3d, CSCA])
def test_low_precision_is_at_most_twice_as_wrong_as_the_plain_path(make, score_norm, dtype, backend):
    module = randomize(make(4, 6, score_norm=score_norm), 5).to(dtype)
    query, context = maps(6, 2, 4, 6, (5, 8, 9), dtype)
    truth = output_and_gradients(copy.deepcopy(module).double(), query.double(), context.double(), "reference")
    actual = output_and_gradients(module, query, context, backend)["output"]
    plain = output_and_gradients(module, query, context, "reference")["output"]
    assert actual.dtype == plain.dtype == dtype
    error, allowed = ((x.double() - truth["output"]).square().mean().sqrt() for x in (actual, plain))
    assert 0 < allowed < 0.1 * truth["output"].abs().max()
    assert error <= 2 * allowed


@pytest.mark.parametrize("backend", EVERY)
@pytest.mark.parametrize("score_norm", ["sqrt", "mean", "cosine", "instance"])
def test_maps_whose_sums_pass_the_range_of_half_precision_stay_finite(score_norm, backend):
    query, context = (10 * x for x in correlated_maps(7, 1, 4, 6, (6, 12, 14), 0.1))
    assert torch.einsum("bcdhw,bedhw->bce", query, context).max() > 65_504
    for dtype in (torch.float16, torch.bfloat16, torch.float32)[backend == "cpp" :]:
        module = randomize(CSCA(4, 6, score_norm=score_norm), 8).to(dtype)
        results = output_and_gradients(module, query.to(dtype), context.to(dtype), backend)
        for name in ("output", "query", "context"):
            assert torch.isfinite(results[name]).all(), name


@pytest.mark.parametrize("backend", FAST)
def test_a_single_slice_and_a_single_voxel(backend):
    for size in [(1, 3, 4), (1, 1, 1)]:
        for score_norm in SCORE_NORMS:
            module = randomize(CSCA(3, 2, score_norm=score_norm).double(), 9)
            query, context = maps(10, 2, 3, 2, size)
            expected = output_and_gradients(module, query, context, "reference")
            actual = output_and_gradients(module, query, context, backend)
            for name, value in expected.items():
                assert_close(actual[name], value, 1e-9, f"{size} {score_norm} {name}")


def test_never_forms_the_projected_maps():
    """No tensor of the output's width and the volume's length is kept for the backward pass except the maps."""
    module = randomize(ChannelCrossAttention3d(3, 7).double(), 11)
    query, context = (x.requires_grad_() for x in maps(12, 1, 3, 7, (4, 5, 6)))
    saved: list[torch.Tensor] = []

    def pack(x: torch.Tensor) -> torch.Tensor:
        saved.append(x)
        return x

    def large(backend: str) -> int:
        saved.clear()
        module.backend = backend
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
            module(query, context)
        own = {query.data_ptr(), context.data_ptr()}
        return sum(x.numel() >= 7 * 120 and x.data_ptr() not in own for x in saved)

    assert large("torch") == 0
    assert large("reference") > 0


def test_random_parameters_are_random():
    """The helper leaves no parameter at its initial value, temperatures above all."""
    module = CSCA(3, 5, score_norm="cosine").double()
    before = {name: p.clone() for name, p in module.named_parameters()}
    randomize(module, 13)
    assert all(not torch.equal(p, before[name]) for name, p in module.named_parameters())
    assert not torch.equal(module.channel.temperature, module.slices.temperature)
    assert normal((3,), generator(1)).dtype == torch.float64
