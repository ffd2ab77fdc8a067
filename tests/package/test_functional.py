"""The pure functions: what they return, which backend they use, and what autocast and dtypes do to them."""

import pytest
import torch

from crossattn3d import functional
from crossattn3d.functional import SCORE_NORMS
from crossattn3d.kernels import operation, reference
from crossattn3d.kernels.gate.mixture import channel_tensors
from support.backends import EVERY, needs_cpp
from support.random_parameters import assert_close, channel_parameters, maps, slice_parameters

SIZE = (3, 4, 5)
CHANNEL, SLICES = channel_parameters(1, 2, 3, 4), slice_parameters(2, 2, 3, 4)


def cast(parameters, dtype):
    return type(parameters)(*(None if p is None else p.to(dtype) for p in parameters))


def test_the_options_are_the_documented_ones():
    assert SCORE_NORMS == ("none", "sqrt", "mean", "cosine", "instance")
    assert functional.BACKENDS == ("auto", "reference", "torch", "cpp", "triton")


@pytest.mark.parametrize("name", functional.__all__)
def test_every_public_name_exists(name):
    assert hasattr(functional, name)


@pytest.mark.parametrize("score_norm", SCORE_NORMS)
def test_the_sum_is_the_sum(score_norm):
    query, context = maps(3, 2, 2, 3, SIZE)
    both = functional.channel_slice_cross_attention(query, context, CHANNEL, SLICES, score_norm=score_norm)
    channel = functional.channel_cross_attention(query, context, CHANNEL, score_norm=score_norm)
    slices = functional.slice_cross_attention(query, context, SLICES, score_norm=score_norm)
    assert both.shape == (2, 4, *SIZE)
    assert_close(both, channel + slices, 1e-12)


@pytest.mark.parametrize(
    ("backend", "kernel"),
    [
        ("auto", operation),
        ("torch", operation),
        ("reference", reference),
        pytest.param("cpp", operation, marks=needs_cpp),
    ],
)
def test_the_backend_asked_for_computes(backend, kernel, monkeypatch):
    calls = []
    computed = kernel.cross_attention
    monkeypatch.setattr(kernel, "cross_attention", lambda *a, **k: calls.append(kernel) or computed(*a, **k))
    functional.channel_cross_attention(*maps(3, 1, 2, 3, SIZE), CHANNEL, backend=backend)
    assert calls == [kernel]


def test_the_defaults():
    query, context = maps(4, 2, 2, 3, SIZE)
    actual = functional.channel_slice_cross_attention(query, context, CHANNEL, SLICES)
    expected = functional.channel_slice_cross_attention(
        query, context, CHANNEL, SLICES, score_norm="instance", residual=False, slice_dim=-3, backend="torch"
    )
    assert torch.equal(actual, expected)


@pytest.mark.parametrize("residual_of", ["channel", "slice", "both"])
def test_the_residual_adds_the_query_once(residual_of):
    query, context = maps(5, 2, 4, 3, SIZE)
    channel, slices = channel_parameters(1, 4, 3, 4), slice_parameters(2, 4, 3, 4)
    run = {
        "channel": lambda r: functional.channel_cross_attention(query, context, channel, residual=r),
        "slice": lambda r: functional.slice_cross_attention(query, context, slices, residual=r),
        "both": lambda r: functional.channel_slice_cross_attention(query, context, channel, slices, residual=r),
    }[residual_of]
    assert_close(run(True) - run(False), query, 1e-12)


@pytest.mark.parametrize(("positive", "negative"), [(2, -3), (3, -2), (4, -1)])
@pytest.mark.parametrize("backend", EVERY)
def test_positive_slice_dims_count_the_whole_tensor(positive, negative, backend):
    query, context = maps(6, 2, 2, 3, SIZE)
    one, other = (
        functional.slice_cross_attention(query, context, SLICES, slice_dim=dim, backend=backend)
        for dim in (positive, negative)
    )
    assert torch.equal(one, other)
    size = SIZE[negative]
    attention = functional.slice_attention_map(query, context, SLICES, slice_dim=positive, backend=backend)
    assert attention.shape == (2, size, size)


@pytest.mark.parametrize("backend", EVERY)
@pytest.mark.parametrize("score_norm", SCORE_NORMS)
def test_the_maps_are_those_that_make_the_output(score_norm, backend):
    query, context = maps(7, 2, 2, 3, SIZE)
    options = {"score_norm": score_norm, "backend": backend}
    attention = functional.channel_attention_map(query, context, CHANNEL, **options)
    value = torch.einsum("oc,bcdhw->bodhw", CHANNEL.v_weight, context) + CHANNEL.v_bias[:, None, None, None]
    expected = torch.einsum("bij,bjdhw->bidhw", attention, value)
    assert_close(functional.channel_cross_attention(query, context, CHANNEL, **options), expected, 1e-12)

    attention = functional.slice_attention_map(query, context, SLICES, slice_dim=-2, **options)
    value = torch.einsum("c,bcdhw->bdhw", SLICES.v_weight[0], context) + SLICES.v_bias
    mixed = torch.einsum("bij,bdjw->bdiw", attention, value)
    expected = torch.einsum("o,bdhw->bodhw", SLICES.out_weight[:, 0], mixed) + SLICES.out_bias[:, None, None, None]
    actual = functional.slice_cross_attention(query, context, SLICES, slice_dim=-2, **options)
    assert_close(actual, expected, 1e-12)


@pytest.mark.parametrize("backend", EVERY)
@pytest.mark.parametrize("score_norm", SCORE_NORMS)
def test_which_normalizations_depend_on_the_number_of_voxels(score_norm, backend):
    """The same features three times over: `mean`, `cosine` and `instance` attend as before, the others do not."""
    query, context = maps(8, 1, 2, 3, SIZE)
    options = {"score_norm": score_norm, "backend": backend}
    for attend, p in ((functional.channel_attention_map, CHANNEL), (functional.slice_attention_map, SLICES)):
        once = attend(query, context, p, **options)
        thrice = attend(query.repeat(1, 1, 1, 3, 1), context.repeat(1, 1, 1, 3, 1), p, **options)
        same = (once - thrice).abs().max() < 1e-12
        assert same == (score_norm in ("mean", "cosine", "instance"))


@pytest.mark.parametrize("temperature", [0.25, 4.0])
@pytest.mark.parametrize("backend", EVERY)
def test_temperature_multiplies_the_cosines(backend, temperature):
    query, context = maps(9, 2, 2, 3, SIZE)
    for attend, p in ((functional.channel_attention_map, CHANNEL), (functional.slice_attention_map, SLICES)):

        def logits(t, attend=attend, p=p):
            p = p._replace(temperature=torch.tensor(t, dtype=torch.float64))
            x = attend(query, context, p, score_norm="cosine", backend=backend).log()
            return x - x.mean(-1, keepdim=True)

        assert_close(logits(temperature), temperature * logits(1.0), 1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("backend", EVERY)
@pytest.mark.parametrize("score_norm", SCORE_NORMS)
def test_the_output_has_the_dtype_of_the_context(score_norm, backend, dtype):
    query, context = maps(10, 1, 4, 3, SIZE, dtype)
    channel, slices = cast(channel_parameters(1, 4, 3, 4), dtype), cast(slice_parameters(2, 4, 3, 4), dtype)
    options = {"score_norm": score_norm, "backend": backend}
    if (backend, dtype) == ("cpp", torch.float16):
        with pytest.raises(ValueError, match=r"cpp: .* got maps of torch.float16; use backend='auto'"):
            functional.channel_cross_attention(query, context, channel, **options)
        return
    out = functional.channel_slice_cross_attention(query, context, channel, slices, residual=True, **options)
    assert out.dtype == dtype
    attention = functional.channel_attention_map(query, context, channel, **options)
    assert attention.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)


@pytest.mark.parametrize("backend", EVERY)
@pytest.mark.parametrize("query_dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_mixed_dtypes_follow_the_context(query_dtype, backend):
    """As happens under autocast, where a convolution gives half precision and a normalization float32."""
    query, context = maps(11, 1, 2, 3, SIZE, torch.float32)
    query = query.to(query_dtype)
    actual = functional.channel_slice_cross_attention(query, context, CHANNEL, SLICES, backend=backend)
    expected = functional.channel_slice_cross_attention(query.float(), context, CHANNEL, SLICES, backend=backend)
    assert actual.dtype == torch.float32
    assert torch.equal(actual, expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("backend", EVERY)
@pytest.mark.parametrize("score_norm", SCORE_NORMS)
def test_autocast_changes_nothing(score_norm, backend, dtype):
    query, context = maps(12, 1, 2, 3, SIZE, torch.float32)
    channel, slices = cast(CHANNEL, torch.float32), cast(SLICES, torch.float32)
    options = {"score_norm": score_norm, "backend": backend}

    def run():
        return (
            functional.channel_slice_cross_attention(query, context, channel, slices, **options),
            functional.channel_attention_map(query, context, channel, **options),
            functional.slice_attention_map(query, context, slices, **options),
        )

    plain = run()
    with torch.autocast("cpu", dtype):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == dtype  # autocast is on
        inside = run()
    assert all(torch.equal(a, b) for a, b in zip(plain, inside, strict=True))


def test_nothing_is_modified():
    query, context = maps(13, 2, 4, 3, SIZE)
    channel, slices = channel_parameters(1, 4, 3, 4), slice_parameters(2, 4, 3, 4)
    tensors = (query, context, *channel_tensors(channel), *slices)
    before = [t.clone() for t in tensors]
    for score_norm in SCORE_NORMS:
        for backend in ("reference", "torch"):
            functional.channel_slice_cross_attention(
                query, context, channel, slices, score_norm=score_norm, residual=True, backend=backend
            )
    assert all(torch.equal(a, b) for a, b in zip(tensors, before, strict=True))
