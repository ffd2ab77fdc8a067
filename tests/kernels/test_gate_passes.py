"""The passes of a gate, by primitives that have a gate and that have none, against autograd of the formula."""

import pytest
import torch
from torch import Tensor

from crossattn3d.kernels import torch_pass
from crossattn3d.kernels.backends import CPP
from crossattn3d.kernels.cpp import run as cpp
from crossattn3d.kernels.cpp.build import library
from crossattn3d.kernels.derivative import Implementation
from crossattn3d.kernels.gate import passes
from crossattn3d.kernels.parameters import GateParameters
from support.backends import needs_cpp
from support.random_parameters import assert_close, generator, normal

pytestmark = pytest.mark.usefixtures("small_chunks")

HOW = {"torch": Implementation(torch_pass.run_pass), "cpp, in parts": Implementation(cpp.run_pass), "cpp": CPP}


@pytest.fixture(params=HOW)
def how(request) -> Implementation:
    """Each way of computing."""
    if "cpp" in request.param and isinstance(library(), str):
        pytest.skip(f"no C++: {library()}")
    return HOW[request.param]


def drawn(size, widths, layout, dtype=torch.float64) -> tuple[list[Tensor], GateParameters]:
    """Return dO, U, E and X, and parameters."""
    g, (cu, ce, c) = generator(1), widths
    maps = [normal((2, n, *size), g).to(dtype).contiguous(memory_format=layout) for n in (c, cu, ce, c)]
    return maps, GateParameters(normal((c, cu), g), normal((c, ce), g), normal((c,), g))


def formula(u, e, x, gate, residual):
    logits = gate.query_weight @ u.flatten(2) + gate.context_weight @ e.flatten(2) + gate.bias[:, None]
    return logits.sigmoid().reshape(x.shape) * x + (u if residual else 0)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last_3d])
@pytest.mark.parametrize("widths", [(3, 4, 2), (4, 4, 4), (1, 1, 1), (9, 18, 18), (53, 50, 53)])
@pytest.mark.parametrize("size", [(11, 23, 29), (1, 5, 6), (1, 1, 1)])
def test_value_and_every_gradient(how, size, widths, layout):
    (dout, *maps), gate = drawn(size, widths, layout)
    for residual in {False, widths[0] == widths[2]}:
        given = [x.clone().requires_grad_() for x in (*maps, *gate)]
        out = formula(*given[:3], GateParameters(*given[3:]), residual)
        found = passes.forward(how, *maps, gate, residual)
        gradients = passes.gradients(how, dout, *maps, gate, residual)
        for one, other in zip((found, *gradients), (out, *torch.autograd.grad(out, given, dout)), strict=True):
            assert_close(one, other.detach(), 1e-12)
        assert all(x.is_contiguous(memory_format=layout) for x in (found, *gradients[:3]))


def test_maps_are_not_written(how):
    (dout, *maps), gate = drawn((3, 4, 5), (4, 4, 4), torch.contiguous_format)
    before = [x.clone() for x in (dout, *maps)]
    passes.forward(how, *maps, gate, True)
    passes.gradients(how, dout, *maps, gate, True)
    assert all(torch.equal(x, y) for x, y in zip((dout, *maps), before, strict=True))


@pytest.mark.parametrize("size", [(5, 6, 7), (4, 6, 8)])
def test_a_bias_that_is_not_finite_spoils_no_gradients(how, size):
    """A gate that is wholly open, or shut, passes on 0."""
    (dout, *maps), gate = drawn(size, (4, 3, 4), torch.contiguous_format)
    gate.bias[1], gate.bias[2] = -torch.inf, torch.inf
    _, _, dx, *of_parameters = passes.gradients(how, dout, *maps, gate, True)
    assert not dx[:, 1].any()
    assert torch.equal(dx[:, 2], dout[:, 2])
    for of_parameter in of_parameters:
        assert not of_parameter[1:3].any()
        assert of_parameter.isfinite().all()


@needs_cpp
def test_bfloat16_is_rounded_once():
    """G, which no memory has, keeps the digits of float32: a result is off by half a unit in the last place."""
    (dout, *maps), gate = drawn((5, 6, 7), (6, 4, 6), torch.contiguous_format, torch.bfloat16)

    def output_and_x_gradient(dtype: torch.dtype, dtype_of_gate: torch.dtype) -> list[Tensor]:
        d, *given = (x.to(dtype) for x in (dout, *maps))
        of_gate = GateParameters(*(p.to(dtype_of_gate) for p in gate))
        of = passes.forward(CPP, *given, of_gate, True), passes.gradients(CPP, d, *given, of_gate, True)[2]
        assert {x.dtype for x in of} == {dtype}
        return [x.double() for x in of]

    exact = output_and_x_gradient(torch.float64, torch.float64)
    for found, truth in zip(output_and_x_gradient(torch.bfloat16, torch.float32), exact, strict=True):
        # Beside that, float32's own rounding.
        assert ((found - truth).abs() <= 2**-8 * truth.abs() + 1e-6).all()


@needs_cpp
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_sigmoid_from_end_to_end(dtype):
    """Within four units in the last place where a float holds it; infinities and NaN as they should be."""
    inside = torch.cat([torch.linspace(-87, 87, 100_001), torch.logspace(-30, 0, 999), -torch.logspace(-30, 0, 999)])
    outside = torch.tensor([-1e38, -200.0, -100.0, -89.0, 89.0, 100.0, 1e38, -torch.inf, torch.inf, torch.nan])
    logits = torch.cat([inside, outside]).to(dtype)
    u = logits.reshape(1, 1, 1, 1, -1)
    gate = GateParameters(torch.ones(1, 1), torch.zeros(1, 1), torch.zeros(1))
    found = passes.forward(CPP, u, torch.zeros_like(u), torch.ones_like(u), gate, False).flatten()
    expected = logits.double().sigmoid()
    n = len(inside)
    error = (found.double() - expected)[:n].abs() / expected[:n]
    assert error.max() <= 4 * torch.finfo(dtype).eps
    torch.testing.assert_close(found[n:].double(), expected[n:], rtol=1e-12, atol=1e-38, equal_nan=True)
