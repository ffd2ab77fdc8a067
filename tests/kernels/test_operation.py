"""The attention as an operation of PyTorch's: what autograd, layouts, autocast and export see of it."""

import functools
from collections.abc import Iterator

import pytest
import torch

from crossattn3d import CSCA, ChannelCrossAttention3d, SliceCrossAttention3d, functional
from crossattn3d.functional import BACKENDS, SCORE_NORMS
from crossattn3d.kernels import composed, derivative, torch_pass
from crossattn3d.kernels.gate.mixture import channel_tensors
from crossattn3d.kernels.softmax import Scores, attention_backward, attention_map
from support.backends import FAST
from support.calls import Calls
from support.output_and_gradients import output_and_gradients
from support.random_parameters import (
    assert_close,
    channel_parameters,
    generator,
    maps,
    normal,
    randomize,
    slice_parameters,
)

SIZE = (3, 4, 5)
KINDS = [ChannelCrossAttention3d, SliceCrossAttention3d, CSCA]


@pytest.fixture
def poisoned(monkeypatch) -> Iterator[None]:
    """Chunks that do not divide the volume, and NaN in memory that nothing was written to."""
    monkeypatch.setattr(torch_pass, "CHUNK", 50)
    monkeypatch.setattr(torch_pass, "COPIED", 30)
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


def arguments(kind: type, score_norm: str, slice_dim: int = -3) -> tuple[object, ...]:
    """Return the arguments of the operation; all tensors require gradients."""
    query, context = (x.requires_grad_() for x in maps(1, 2, 3, 4, SIZE))
    channel = [] if kind is SliceCrossAttention3d else channel_tensors(channel_parameters(2, 3, 4, 3))
    slices = [] if kind is ChannelCrossAttention3d else list(slice_parameters(3, 3, 4, 3))
    parts = [
        [p.requires_grad_() for p in (part if score_norm == "cosine" else part[:-1])] for part in (channel, slices)
    ]
    return query, context, *parts, score_norm, True, slice_dim, "torch"


@pytest.mark.usefixtures("unchecked")  # sizes that stand for any number are no `int`
@pytest.mark.parametrize("score_norm", ["instance", "cosine"])
@pytest.mark.parametrize("kind", KINDS)
def test_opcheck(kind, score_norm):
    """Schema, shapes without data, autograd's registration, and tracing with dynamic shapes."""
    torch.library.opcheck(torch.ops.crossattn3d.attend.default, arguments(kind, score_norm, -1))
    query, context, *rest = arguments(kind, score_norm, -1)
    with torch.no_grad():
        out, sums = torch.ops.crossattn3d.attend(query, context, *rest)
        given = torch.ones_like(out), query, context, sums, *rest
        torch.library.opcheck(torch.ops.crossattn3d.attend_backward.default, given)


@pytest.mark.usefixtures("poisoned")
@pytest.mark.parametrize("slice_dim", [-3, -2, -1])
@pytest.mark.parametrize("score_norm", SCORE_NORMS)
@pytest.mark.parametrize("kind", KINDS)
def test_chunks_that_do_not_divide_the_volume(kind, score_norm, slice_dim):
    assert torch.empty(3).isnan().all()
    module = randomize(kind(3, 4, score_norm=score_norm, slice_dim=slice_dim).double(), 1)
    query, context = maps(2, 2, 3, 4, SIZE)
    expected = output_and_gradients(module, query, context, "reference")
    for name, value in output_and_gradients(module, query, context, "torch").items():
        assert_close(value, expected[name], 1e-9, name)


@pytest.mark.parametrize("backend", FAST)
@pytest.mark.parametrize("score_norm", ["instance", "cosine"])
@pytest.mark.parametrize("widths", [(1, 1), (1, 5), (256, 256), (320, 7)])
def test_very_few_and_very_many_channels(widths, score_norm, backend):
    module = randomize(CSCA(*widths, score_norm=score_norm).double(), 1)
    query, context = maps(2, 2, *widths, SIZE)
    expected = output_and_gradients(module, query, context, "reference")
    for name, value in output_and_gradients(module, query, context, backend).items():
        assert_close(value, expected[name], 1e-9, name)


LAYOUTS = {
    "channels last": lambda x: x.contiguous(memory_format=torch.channels_last_3d),
    "half of the channels": lambda x: torch.cat([x, x], 1)[:, : x.shape[1]],
    "half of the channels, last": lambda x: torch.cat([x, x], 1).contiguous(memory_format=torch.channels_last_3d)[
        :, : x.shape[1]
    ],
    "turned": lambda x: x.transpose(2, 4).contiguous().transpose(2, 4),
    "cropped": lambda x: torch.nn.functional.pad(x, (1, 1, 2, 0, 0, 1))[..., :-1, 2:, 1:-1],
    "one value": lambda x: x[:, :, :1, :1, :1].expand(x.shape),
}


@pytest.mark.usefixtures("poisoned")
@pytest.mark.parametrize("backend", FAST)
@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(layout, mixed, backend):
    """In values and gradients; the results are in the memory format of the map they belong to."""
    module = randomize(CSCA(4, 4, score_norm="cosine", residual=True).double(), 1)
    query, context = maps(2, 2, 4, 4, SIZE)
    query, context = LAYOUTS[layout](query), LAYOUTS["turned" if mixed else layout](context)
    actual = output_and_gradients(module, query, context, backend)
    for name, value in output_and_gradients(module, query, context, "reference").items():
        assert_close(actual[name], value, 1e-9, name)
    last = layout.endswith("last") and not mixed
    for name in ("output", "query", "context"):
        assert actual[name].is_contiguous(memory_format=torch.channels_last_3d) or not last, name


def test_the_gradient_may_be_one_number_for_all():
    module = randomize(CSCA(3, 4).double(), 1)
    query, context = maps(2, 2, 3, 4, SIZE)
    gradients = []
    for backend in ("reference", "torch"):
        module.backend = backend
        query = query.detach().requires_grad_()
        module(query, context).sum().backward()
        gradients.append(query.grad)
    assert_close(*reversed(gradients), 1e-9)


def test_no_batch_at_all():
    query, context = (x[:0].requires_grad_() for x in maps(2, 2, 3, 4, SIZE))
    out = CSCA(3, 4).double()(query, context)
    out.sum().backward()
    assert out.shape == query.grad.new_empty(0, 4, *SIZE).shape
    assert query.grad.shape == query.shape


def test_one_map_may_be_both():
    """Once and twice differentiated, what a map gets as query and as context is added."""
    module = randomize(CSCA(3, 3, residual=True).double(), 1)
    found = {}
    for backend in ("reference", "torch"):
        module.backend = backend
        x = maps(2, 2, 3, 3, SIZE)[0].requires_grad_()
        weights = normal(tuple(x.shape), generator(3))
        (first,) = torch.autograd.grad((module(x, x) * weights).sum(), x, create_graph=True)
        (second,) = torch.autograd.grad((first * weights).sum(), x)
        (alone,) = torch.autograd.grad((module(x, x) * weights).sum(), x)
        found[backend] = (first.detach(), second, alone)
    for a, b in zip(*found.values(), strict=True):
        assert_close(b, a, 1e-9)


@pytest.mark.parametrize("score_norm", ["instance", "cosine"])
@pytest.mark.parametrize("kind", KINDS)
def test_gradients_of_gradients(kind, score_norm):
    module = randomize(kind(2, 2, score_norm=score_norm, residual=True, backend="torch").double(), 1)
    query, context = (x.requires_grad_() for x in maps(2, 1, 2, 2, (2, 1, 2)))
    assert torch.autograd.gradgradcheck(module, (query, context))


def test_only_what_needs_a_gradient_gets_one_when_differentiated_twice():
    module = randomize(CSCA(3, 4).double(), 1).requires_grad_(False)
    query, context = maps(2, 2, 3, 4, SIZE)
    query.requires_grad_()
    (first,) = torch.autograd.grad(module(query, context).square().sum(), query, create_graph=True)
    first.sum().backward()
    assert query.grad.isfinite().all()
    assert context.grad is None


@pytest.mark.parametrize("score_norm", SCORE_NORMS)
def test_nothing_long_is_kept_for_the_backward_pass(score_norm):
    module = randomize(CSCA(3, 7, score_norm=score_norm, backend="torch").double(), 1)
    query, context = (x.requires_grad_() for x in maps(2, 1, 3, 7, (6, 8, 9)))
    saved: list[torch.Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: saved.append(x) or x, lambda x: x):
        module(query, context)
    own = {query.data_ptr(), context.data_ptr()}
    assert max(x.numel() for x in saved if x.data_ptr() not in own) < query[0, 0].numel()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_backward_pass_under_autocast(dtype):
    """Backward is usually outside of autocast; inside it, the products must not be in half precision either."""
    module = randomize(CSCA(3, 4, backend="torch"), 1)
    query, context = (x.float() for x in maps(2, 1, 3, 4, SIZE))
    expected = output_and_gradients(module, query, context, "torch")
    with torch.autocast("cpu", dtype):
        actual = output_and_gradients(module, query, context, "torch")
    assert all(torch.equal(actual[name], value) for name, value in expected.items())


@pytest.mark.parametrize("score_norm", SCORE_NORMS)
def test_gradcheck_of_attention_from_scores(score_norm):
    """`attention_backward` against autograd of `attention_map`, squares and temperature too."""
    g = generator(4)
    scores, dm = 3 * normal((2, 4, 4), g).requires_grad_(), normal((2, 4, 4), g)
    squares = tuple((0.5 + normal((2, 4), g).square()).requires_grad_() for _ in "qk")
    temperature = torch.tensor(1.7, dtype=torch.float64, requires_grad=True)
    given = (squares, temperature) if score_norm == "cosine" else (None, None)
    m = attention_map(Scores(scores, 9, score_norm, *given))
    inputs = [scores, *squares, temperature] if score_norm == "cosine" else [scores]
    expected = torch.autograd.grad(m, inputs, dm)
    again, dscores, dsquares, dtemperature = attention_backward(dm, Scores(scores, 9, score_norm, *given), m.dtype)
    assert torch.equal(again, m)
    actual = [dscores, *dsquares, dtemperature] if score_norm == "cosine" else [dscores]
    for a, b in zip(actual, expected, strict=True):
        assert_close(a.detach(), b, 1e-12)


def test_rows_shorter_than_the_bound_have_no_gradient_by_their_length():
    squares = torch.tensor([[0.0, 1.0]]).double(), torch.ones(1, 2).double()
    scores = Scores(torch.ones(1, 2, 2).double(), 1, "cosine", squares, torch.tensor(1.0))
    m = attention_map(scores)
    _, _, (dq, _), _ = attention_backward(torch.rand_like(m), scores, m.dtype)
    assert dq.isfinite().all()
    assert dq[0, 0] == 0


def test_while_exporting_it_is_plain_products(monkeypatch):
    calls = []
    computed = composed.cross_attention
    monkeypatch.setattr(composed, "cross_attention", lambda *a, **k: calls.append("plain") or computed(*a, **k))
    run = functools.partial(functional.channel_cross_attention, *maps(2, 1, 3, 4, SIZE), channel_parameters(2, 3, 4, 4))
    run()
    assert calls == []
    monkeypatch.setattr(torch.compiler, "is_exporting", lambda: True)
    run()
    assert calls == ["plain"]


@pytest.mark.parametrize("backend", FAST)
@pytest.mark.parametrize("score_norm", SCORE_NORMS)
def test_a_temperature_that_is_not_used_has_no_gradient(score_norm, backend):
    """Given to any normalization, it changes only `cosine`."""
    query, context = maps(1, 2, 3, 4, SIZE)
    parts = channel_parameters(2, 3, 4, 3), slice_parameters(3, 3, 4, 3)
    inputs = [x.requires_grad_() for part in parts for x in part if x is not None]
    out = functional.channel_slice_cross_attention(query, context, *parts, score_norm=score_norm, backend=backend)
    gradients = torch.autograd.grad(out.square().sum(), inputs)
    plain = functional.channel_slice_cross_attention(query, context, *parts, score_norm=score_norm, backend="reference")
    expected = torch.autograd.grad(plain.square().sum(), inputs, materialize_grads=True, allow_unused=True)
    for actual, gradient in zip(gradients, expected, strict=True):
        assert_close(actual, gradient, 1e-11)
    for part in (gradients[6], gradients[-1]):
        assert bool(part == 0) == (score_norm != "cosine")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_maps_without_memory(kind, backend):
    """On the meta device, shapes and dtypes come out as on the CPU, of both directions and of the attention maps."""
    found = []
    for device in ("cpu", "meta"):
        chosen = "auto" if device == "cpu" else backend
        module = kind(3, 4, score_norm="cosine", backend=chosen).to(device)
        query, context = (x.float().to(device).requires_grad_() for x in maps(1, 2, 3, 4, SIZE))
        out = module(query, context)
        gradients = torch.autograd.grad(out.sum(), [query, context, *module.parameters()])
        shown = module.attention_maps(query, context)
        found.append([out, *gradients, *(shown if kind is CSCA else [shown])])
        assert all(x.device.type == device for x in found[-1])
    for actual, expected in zip(*found, strict=True):
        assert (actual.shape, actual.dtype) == (expected.shape, expected.dtype)
        assert backend == "reference" or actual.stride() == expected.stride()


@pytest.mark.usefixtures("unchecked")
def test_few_calls_off_the_cpu():
    """On a GPU each takes some microseconds to launch: 60 forward and 150 backward for a skip of the paper's size."""
    module = CSCA(32).to("meta")
    x = torch.empty(1, 32, 32, 320, 320, dtype=torch.bfloat16, device="meta")
    parts = module.channel.parameters_of_attention(), module.slices.parameters_of_attention()
    how = derivative.Implementation(torch_pass.run_pass)
    with torch.no_grad():
        with Calls() as of_forward:
            out, sums = derivative.forward(how, x, x, (*parts, module.attention))
        with Calls() as of_backward:
            derivative.backward(how, out, x, x, (*parts, module.attention), sums)
    assert 10 < of_forward.computing <= 60
    assert 20 < of_backward.computing <= 150
