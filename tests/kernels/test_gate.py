"""The gate after an attention: against the reference, in value and every gradient, by every backend and transform."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.func import functional_call, grad, jvp, vmap

from crossattn3d import CSCA, ChannelCrossAttention3d, SliceCrossAttention3d, functional
from crossattn3d.functional import ChannelParameters, GateParameters, StaticMixture
from crossattn3d.kernels.gate import operation, passes
from support.backends import CPP, EVERY, FAST
from support.output_and_gradients import output_and_gradients
from support.random_parameters import assert_close, generator, maps, normal, randomize

KINDS = [ChannelCrossAttention3d, SliceCrossAttention3d, CSCA]
SIZE = (3, 4, 5)
EVERY_BACKEND = ["reference", "torch", *CPP]


def gate_parameters(seed: int, query_channels: int, context_channels: int, channels: int) -> GateParameters:
    """Return float64 projections of a gate."""
    g = generator(seed)
    shapes = (channels, query_channels), (channels, context_channels), (channels,)
    return GateParameters(*(normal(shape, g) for shape in shapes))


@pytest.mark.parametrize("backend", EVERY)
@pytest.mark.parametrize("residual", [False, True])
def test_a_gate_by_hand(residual: bool, backend: str) -> None:
    query, context = maps(0, 2, 4, 3, SIZE)
    mixture, _ = maps(1, 2, 4, 1, SIZE)
    p = gate_parameters(2, 4, 3, 4)
    before = torch.einsum("oc,bcdhw->bodhw", p.query_weight, query)
    before += torch.einsum("oc,bcdhw->bodhw", p.context_weight, context) + p.bias[:, None, None, None]
    expected = mixture / (1 + (-before).exp()) + (query if residual else 0)
    found = functional.gated(query, context, mixture, p, residual=residual, backend=backend)
    assert_close(found, expected, 1e-12)


@pytest.mark.parametrize("backend", EVERY)
@pytest.mark.parametrize("temperature", [None, torch.tensor(0.7, dtype=torch.float64)])
def test_a_corrected_mixture_by_hand(temperature: torch.Tensor | None, backend: str) -> None:
    query, context = maps(0, 2, 4, 3, SIZE)
    g = generator(1)
    q, k, v = ((normal((5, n), g), normal((5,), g)) for n in (4, 3, 3))
    static = StaticMixture(normal((5,), g), normal((5, 3), g), normal((5,), g))
    p = ChannelParameters(*q, *k, *v, temperature, static)
    score_norm = "instance" if temperature is None else "cosine"
    m = functional.channel_attention_map(query, context, p, score_norm=score_norm, backend="reference")
    values = torch.einsum("oc,bcdhw->bodhw", v[0], context) + v[1][:, None, None, None]
    expected = torch.einsum("oc,bcdhw->bodhw", static.weight, context) + static.bias[:, None, None, None]
    expected += static.gain[:, None, None, None] * torch.einsum("bij,bjdhw->bidhw", m - 1 / 5, values)
    found = functional.channel_cross_attention(query, context, p, score_norm=score_norm, backend=backend)
    assert_close(found, expected, 1e-11)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"gain": torch.zeros(4)}, r"a static mixture of the 5 channels of the values; got .* \[4, 5, 5\] rows"),
        ({"weight": torch.zeros(4, 3)}, r"a static mixture of the 5 channels of the values; got .* \[5, 4, 5\] rows"),
        ({"weight": torch.zeros(5, 4)}, "expected a context with 4 channels; got 3"),
        ({"bias": torch.zeros(5, 1)}, r"expected static.bias with 1 dimensions; got \(5, 1\)"),
        ({"gain": torch.zeros(())}, r"expected static.gain with 1 dimensions; got \(\)"),
        ({"gain": None}, "expected static.gain as a tensor of floating-point numbers; got NoneType"),
        (None, "expected static as StaticMixture; got tuple"),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("unchecked")
def test_a_static_mixture_that_does_not_fit_is_refused(changes: dict | None, message: str) -> None:
    query, context = maps(0, 1, 4, 3, SIZE, torch.float32)
    q, k, v = ((torch.zeros(5, n), torch.zeros(5)) for n in (4, 3, 3))
    static = StaticMixture(torch.zeros(5), torch.zeros(5, 3), torch.zeros(5))
    p = ChannelParameters(*q, *k, *v, None, (1, 2, 3) if changes is None else static._replace(**changes))
    with pytest.raises(ValueError, match=f"channel_cross_attention: .*{message}"):
        functional.channel_cross_attention(query, context, p)


@pytest.mark.parametrize("backend", FAST)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("widths", [(4, 4, True), (3, 5, False), (5, 2, False)])
@pytest.mark.parametrize("score_norm", ["instance", "cosine"])
def test_equals_the_reference_in_value_and_every_gradient(
    score_norm: str, widths: tuple, kind: type, backend: str
) -> None:
    query_channels, context_channels, residual = widths
    module = kind(query_channels, context_channels, score_norm=score_norm, residual=residual, gated=True)
    module = randomize(module.double(), 1)
    query, context = maps(2, 2, query_channels, context_channels, SIZE)
    expected = output_and_gradients(module, query, context, "reference")
    actual = output_and_gradients(module, query, context, backend)
    assert actual.keys() == expected.keys()
    assert {"gate.of_query.weight", "gate.of_context.weight", "gate.bias"} <= {name.split()[-1] for name in actual}
    for name, value in expected.items():
        assert_close(actual[name], value, 1e-9, name)


@given(
    sizes=st.tuples(st.integers(1, 5), st.integers(1, 6), st.integers(1, 7)),
    widths=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    batch=st.integers(1, 3),
    seed=st.integers(0, 2**32 - 1),
    backend=st.sampled_from(["torch", *CPP]),
    last=st.booleans(),
)
def test_any_size_and_layout(sizes: tuple, widths: tuple, batch: int, seed: int, backend: str, last: bool) -> None:
    module = randomize(CSCA(*widths, gated=True).double(), seed)
    query, context = maps(seed, batch, *widths, sizes)
    expected = output_and_gradients(module, query, context, "reference")
    if last:
        query, context = (x.contiguous(memory_format=torch.channels_last_3d) for x in (query, context))
    actual = output_and_gradients(module, query, context, backend)
    for name, value in expected.items():
        assert_close(actual[name], value, 1e-8, name)


@pytest.mark.parametrize("backend", FAST)
@pytest.mark.parametrize("residual", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_in_lower_precision(dtype: torch.dtype, residual: bool, backend: str) -> None:
    """Maps of any dtype with parameters in float32: at most twice as wrong as the formula on the same rounded maps."""
    query, context = (x.to(dtype) for x in maps(3, 2, 6, 4, (3, 6, 5)))
    mixture = maps(4, 2, 6, 1, (3, 6, 5))[0].to(dtype)
    p = [x.float() for x in gate_parameters(5, 6, 4, 6)]

    def all_of(how: str, convert: Callable[[torch.Tensor], torch.Tensor]) -> list[torch.Tensor]:
        given = [convert(x.detach()).requires_grad_() for x in (query, context, mixture, *p)]
        out = functional.gated(*given[:3], GateParameters(*given[3:]), residual=residual, backend=how)
        return [out, *torch.autograd.grad(out, given, convert(mixture + 0.1))]

    exact = all_of("reference", lambda x: x.double())
    formula = all_of("reference", lambda x: x)
    found = all_of(backend, lambda x: x)
    assert found[0].dtype == dtype
    for one, other, truth in zip(found, formula, exact, strict=True):
        assert one.dtype == other.dtype
        error, allowed = ((x.double() - truth).square().mean().sqrt() for x in (one, other))
        # Beside that, one rounding of the result.
        assert error <= 2 * allowed + torch.finfo(one.dtype).eps * truth.abs().max() / 2


@pytest.mark.parametrize("backend", [*FAST, "composed"])
def test_sums_in_half_precision_do_not_overflow(backend: str) -> None:
    query, context = (torch.zeros(1, 2, 32, 64, 64, dtype=torch.float16) for _ in range(2))
    p = GateParameters(torch.zeros(2, 2), torch.zeros(2, 2), torch.zeros(2, requires_grad=True))
    mixture = torch.ones_like(query)
    if backend == "composed":
        out = operation.composed(query, context, mixture, p, False)
    elif backend == "cpp":
        pytest.skip("C++ takes no float16")
    else:
        out = functional.gated(query, context, mixture, p, residual=False, backend=backend)
    (found,) = torch.autograd.grad(out, p.bias, torch.full_like(out, 4))
    # A quarter of 4 at each of 2^17 voxels.
    assert found.tolist() == [2.0**17] * 2


@pytest.mark.parametrize("backend", [*FAST, "composed"])
def test_products_of_a_gradient_and_a_map_do_not_overflow(backend: str) -> None:
    if backend == "cpp":
        pytest.skip("C++ takes no float16")
    query, context = (torch.zeros(1, 2, 1, 2, 1, dtype=torch.float16, requires_grad=True) for _ in range(2))
    p = GateParameters(torch.eye(2), torch.eye(2), torch.zeros(2, requires_grad=True))
    mixture = torch.full_like(query, 300)
    if backend == "composed":
        out = operation.composed(query, context, mixture, p, False)
    else:
        out = functional.gated(query, context, mixture, p, residual=False, backend=backend)
    # 300 * 300 is beyond float16; a quarter of it, at each of two voxels, is not.
    found = torch.autograd.grad(out, (query, context, p.bias), torch.full_like(out, 300))
    for x, expected in zip(found, (22_500, 22_500, 45_000), strict=True):
        torch.testing.assert_close(x.float(), torch.full(x.shape, float(expected)), rtol=2**-10, atol=0)


@pytest.mark.parametrize("backend", FAST)
def test_a_matrix_of_one_row_may_have_any_strides(backend: str) -> None:
    query, context, mixture = (maps(seed, 1, 1, 1, SIZE)[0].float().requires_grad_() for seed in range(3))
    weight = torch.full((2, 2), 0.5)[:1, :1]
    p = GateParameters(weight, weight, torch.zeros(1))
    assert weight.stride() == (2, 1)

    def gradients(how: str) -> tuple[torch.Tensor, ...]:
        out = functional.gated(query, context, mixture, p, backend=how)
        return torch.autograd.grad(out.square().sum(), (query, context, mixture))

    for one, other in zip(gradients(backend), gradients("reference"), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("backend", FAST)
def test_second_derivatives(backend: str) -> None:
    tensors = [*maps(0, 1, 2, 3, (1, 2, 3)), maps(1, 1, 2, 1, (1, 2, 3))[0], *gate_parameters(2, 2, 3, 2)]
    for x in tensors:
        x.requires_grad_()
    assert torch.autograd.gradgradcheck(
        lambda u, e, x, *p: functional.gated(u, e, x, GateParameters(*p), backend=backend), tensors, atol=1e-6
    )


def test_transforms_of_functions_see_the_formula() -> None:
    module = randomize(CSCA(3, 4, gated=True).double(), 0)
    u, e = maps(1, 2, 3, 4, SIZE)
    parameters = {name: p.detach() for name, p in module.named_parameters()}

    def energy(p: dict, u: torch.Tensor) -> torch.Tensor:
        return functional_call(module, p, (u, e)).square().sum()

    found = grad(energy)(parameters, u)
    module.backend = "reference"
    expected = torch.autograd.grad(module(u, e).square().sum(), list(module.parameters()))
    for (name, value), other in zip(found.items(), expected, strict=True):
        assert_close(value, other, 1e-9, name)
    module.backend = "torch"
    two = vmap(module)(torch.stack([u, 2 * u]), torch.stack([e, e + 1]))
    assert_close(two[1], module(2 * u, e + 1), 1e-9)
    du = normal(tuple(u.shape), generator(5))
    _, tangent = jvp(lambda x: module(x, e), (u,), (du,))
    step = 1e-6
    assert_close(tangent, (module(u + step * du, e) - module(u - step * du, e)) / (2 * step), 1e-6)


def test_vmap_over_what_is_none_of_the_gate_s() -> None:
    module = randomize(CSCA(3, gated=True).double(), 0)
    u, e = maps(1, 2, 3, 3, SIZE)
    found = vmap(lambda s: (s * module(u, e)).sum())(torch.arange(1.0, 4.0, dtype=torch.float64))
    assert_close(found, module(u, e).sum() * torch.arange(1.0, 4.0, dtype=torch.float64), 1e-9)


@pytest.mark.usefixtures("unchecked")  # sizes that stand for any number are no `int`
@pytest.mark.parametrize("backend", FAST)
@pytest.mark.parametrize("residual", [True, False])
def test_opcheck(residual: bool, backend: str) -> None:
    """Schema, shapes without data, autograd's registration, and tracing with dynamic shapes."""
    query, context = maps(0, 2, 3, 4, SIZE)
    mixture, _ = maps(1, 2, 3, 1, SIZE)
    given = [x.requires_grad_() for x in (query, context, mixture, *gate_parameters(2, 3, 4, 3))]
    torch.library.opcheck(torch.ops.crossattn3d.gate.default, (*given, residual, backend))
    with torch.no_grad():
        backward = torch.ones_like(mixture), *given, residual, backend
        checks = ("test_schema", "test_faketensor")
        torch.library.opcheck(torch.ops.crossattn3d.gate_backward.default, backward, test_utils=checks)


def test_a_derivative_of_a_gradient_that_was_recorded_is_refused() -> None:
    query, context = maps(0, 2, 3, 4, SIZE)
    mixture, _ = maps(1, 2, 3, 1, SIZE)
    given = mixture.clone().requires_grad_(), query, context, mixture, *gate_parameters(2, 3, 4, 3), True, "torch"
    found = torch.ops.crossattn3d.gate_backward(*given)
    with pytest.raises(ValueError, match="gate_backward: expected no derivative of a gradient that was recorded"):
        found[0].sum().backward()


def test_a_batch_of_none() -> None:
    for backend in EVERY_BACKEND:
        module = CSCA(4, gated=True, backend=backend)
        out = module(*(torch.zeros(0, 4, 3, 5, 6, requires_grad=True) for _ in range(2)))
        out.sum().backward()
        assert out.shape == (0, 4, 3, 5, 6)
        assert not any(p.grad.any() for p in module.parameters())


def test_one_tensor_may_be_all_maps() -> None:
    x, _ = maps(0, 2, 3, 3, SIZE)
    p = gate_parameters(1, 3, 3, 3)
    gradients = []
    for backend in ("reference", "torch"):
        own = x.clone().requires_grad_()
        gradients += torch.autograd.grad(functional.gated(own, own, own, p, backend=backend).square().sum(), own)
    assert_close(gradients[1], gradients[0], 1e-9)


def changed(**changes: object) -> tuple:
    query, context = maps(0, 2, 4, 3, SIZE)
    given = {
        "query": query,
        "context": context,
        "mixture": query.clone(),
        "gate": gate_parameters(1, 4, 3, 4),
    } | changes
    return tuple(given.values())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"gate": 3}, "gated: expected gate as GateParameters; got int"),
        ({"gate": gate_parameters(1, 5, 3, 4)}, "gated: expected a query with 5 channels; got 4"),
        ({"gate": gate_parameters(1, 4, 2, 4)}, "gated: expected a context with 2 channels; got 3"),
        ({"gate": gate_parameters(1, 4, 3, 5)}, r"gated: expected a gate for each of the mixture's 4 .*\[5, 5, 5\]"),
        ({"gate": gate_parameters(1, 4, 3, 4)._replace(bias=torch.zeros(4, 1))}, "expected bias with 1 dimensions"),
        ({"gate": gate_parameters(1, 4, 3, 4)._replace(bias=None)}, "expected bias as a tensor of floating-point"),
        ({"mixture": torch.zeros(2, 4, 3, 4, 6)}, "query and mixture of one batch .* resize the mixture to the query"),
        ({"mixture": torch.zeros(2, 4, 3)}, r"gated: expected mixture as \(batch, channels, depth, height, width\)"),
        ({"mixture": None}, "gated: expected mixture as a tensor"),
        ({"query": torch.zeros(2, 4, 3, 4, 6)}, "query and context of one batch .* resize the query to the context"),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("unchecked")
def test_what_does_not_fit_is_refused(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        functional.gated(*changed(**changes))


def test_a_residual_between_unequal_widths_is_refused() -> None:
    query, context = maps(0, 2, 4, 3, SIZE)
    mixture, _ = maps(1, 2, 5, 1, SIZE)
    p = gate_parameters(1, 4, 3, 5)
    with pytest.raises(
        ValueError, match="gated: expected a query with the 5 channels of the output, for residual=True"
    ):
        functional.gated(query, context, mixture, p)
    assert functional.gated(query, context, mixture, p, residual=False).shape[1] == 5


def test_only_maps_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """The gate itself is made again in the backward pass."""
    query, context = (x.requires_grad_() for x in maps(0, 2, 4, 3, SIZE))
    mixture, _ = maps(1, 2, 4, 1, SIZE)
    kept: list[torch.Tensor] = []

    def note(x: torch.Tensor) -> torch.Tensor:
        kept.append(x)
        return x

    p = gate_parameters(1, 4, 3, 4)
    with torch.autograd.graph.saved_tensors_hooks(note, lambda x: x):
        functional.gated(query, context, mixture, p, backend="torch")
    given = {x.data_ptr() for x in (query, context, mixture, *p)}
    assert {x.data_ptr() for x in kept} == given
    made = []
    monkeypatch.setattr(passes, "open_gate", lambda *a, own=passes.open_gate: made.append(1) or own(*a))
    functional.gated(query, context, mixture, p, backend="torch").sum().backward()
    assert len(made) == 2
