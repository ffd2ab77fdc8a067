"""Each pass, in PyTorch and in C++, against its one-line definition, gradients by autograd."""

from unittest import mock

import pytest
import torch
from torch import Tensor

from crossattn3d.kernels import torch_pass
from crossattn3d.kernels.centers import Centers
from crossattn3d.kernels.cpp import run as cpp
from crossattn3d.kernels.cpp.build import library
from crossattn3d.kernels.layout import new_map
from support.four_passes import FourPasses
from support.random_parameters import assert_close, generator, normal

pytestmark = pytest.mark.usefixtures("small_chunks")

SIZES = {"several chunks": (11, 23, 29), "one slice": (1, 5, 6), "one voxel": (1, 1, 1)}
WIDTHS = [(3, 4, 2), (4, 4, 4), (1, 1, 1), (9, 18, 18), (50, 53, 52)]


@pytest.fixture(params=["torch", "cpp"])
def passes(request):
    """The passes in PyTorch, and in C++."""
    if request.param == "torch":
        return FourPasses(torch_pass.run_pass)
    if isinstance(library(), str):
        pytest.skip(f"no C++: {library()}")
    return FourPasses(cpp.run_pass)


class Case:
    """Random operands of all four passes."""

    def __init__(self, size, widths, layout=torch.contiguous_format, dtype=torch.float64):
        g, batch = generator(1), 2
        cu, ce, c = widths
        length = size[0] * size[1] * size[2]

        def draw(*shape: int) -> Tensor:
            return normal(shape, g)

        self.u, self.e, self.dout = (
            draw(batch, n, *size).to(dtype).contiguous(memory_format=layout) for n in (cu, ce, c)
        )
        self.wq, self.wk, self.wv, self.wo = draw(cu + 1), draw(ce + 1), draw(ce + 1), draw(c)
        self.p, self.bias, self.o = draw(batch, c, ce), draw(batch, c), draw(batch, length)
        self.centers = Centers(draw(batch, cu), draw(batch, ce))
        shapes = (batch, cu + 1, ce + 1), (batch, cu + 1, cu + 1), (batch, ce + 1, ce + 1), (batch, 4, length)
        self.dsums = [draw(*shape) for shape in shapes]


def defined_reduce(u, e, wq, wk, wv):
    ones = torch.ones(u.shape[0], 1, u[0, 0].numel(), dtype=torch.float64)
    x, y = torch.cat([u.flatten(2), ones], 1), torch.cat([ones, e.flatten(2)], 1)
    return x @ y.mT, x @ x.mT, y @ y.mT, torch.stack([wq @ x, wk @ y, wv @ y], 1)


def defined_apply(e, p, bias, o, wo, u):
    out = (p @ e.flatten(2) if p is not None else 0) + bias[:, :, None]
    out = out + (wo[:, None] * o[:, None] if o is not None else 0) + (u.flatten(2) if u is not None else 0)
    return out.reshape(*out.shape[:2], *e.shape[2:])


def leaves(*tensors):
    return [t.detach().clone().requires_grad_() for t in tensors]


ALL = [
    pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last_3d]),
    pytest.mark.parametrize("widths", WIDTHS),
    pytest.mark.parametrize("size", SIZES.values(), ids=SIZES),
]


def in_all_shapes(test):
    for mark in ALL:
        test = mark(test)
    return test


@in_all_shapes
def test_reduce(passes, size, widths, layout):
    case = Case(size, widths, layout)
    expected = defined_reduce(case.u, case.e, case.wq, case.wk, case.wv)
    actual = passes.reduce(case.u, case.e, case.wq, case.wk, case.wv, need_norms=True)
    for a, b in zip(actual, expected, strict=True):
        assert_close(a, b, 1e-12)
    ue, uu, ee, qkv = passes.reduce(case.u, case.e, None, None, None, need_norms=False)
    assert (uu, ee, qkv) == (None, None, None)
    assert_close(ue, expected[0], 1e-12)
    ue, uu, ee, qkv = passes.reduce(case.u, case.e, case.wq, case.wk, case.wv, need_norms=False, want_gram=False)
    assert (ue, uu, ee) == (None, None, None)
    assert_close(qkv, expected[3], 1e-12)


@in_all_shapes
def test_maps_less_their_centers(passes, size, widths, layout):
    """The passes that sum products read the maps with a value taken off each channel of each sample."""
    case = Case(size, widths, layout)
    less = [x - c[:, :, None, None, None] for x, c in zip((case.u, case.e), case.centers, strict=True)]
    weights = case.wq, case.wk, case.wv
    expected = defined_reduce(*less, *weights)
    actual = passes.reduce(case.u, case.e, *weights, need_norms=True, centers=case.centers)
    dp, dbias, single = passes.reduce_backward(case.dout, case.u, case.e, *weights, case.wo, case.centers)
    of_less = passes.reduce_backward(case.dout, *less, *weights, case.wo)
    for a, b in zip((*actual, dp, dbias, single), (*expected, *of_less), strict=True):
        assert_close(a, b, 1e-12)


@pytest.mark.parametrize("parts", ["p", "o", "p o", "p o u"])
@in_all_shapes
def test_apply(passes, size, widths, parts, layout):
    case = Case(size, widths, layout)
    p, o = case.p if "p" in parts else None, case.o if "o" in parts else None
    u = case.dout if "u" in parts else None
    wo = case.wo if "o" in parts else None
    actual = passes.apply(case.e, p, case.bias, o, wo, u)
    assert_close(actual, defined_apply(case.e, p, case.bias, o, wo, u), 1e-12)
    assert actual.is_contiguous(memory_format=layout)


@in_all_shapes
def test_reduce_backward(passes, size, widths, layout):
    case = Case(size, widths, layout)
    p, bias, o, wo = leaves(case.p, case.bias, case.o, case.wo)
    out = defined_apply(case.e, p, bias, o, wo, None)
    dp, dbias, do = torch.autograd.grad(out, (p, bias, o), case.dout)
    q, k, v = defined_reduce(case.u, case.e, case.wq, case.wk, case.wv)[3].unbind(1)
    without = passes.reduce_backward(case.dout, case.u, case.e, None, None, None, None)
    assert without[2] is None
    actual = passes.reduce_backward(case.dout, case.u, case.e, case.wq, case.wk, case.wv, case.wo)
    expected = dp, dbias, torch.stack((q, k, do, v), 1)
    for a, b in zip((*actual, *without[:2]), (*expected, *expected[:2]), strict=True):
        assert_close(a, b, 1e-12)


@pytest.mark.parametrize("parts", ["gram", "gram norms", "slices", "gram slices", "gram norms slices"])
@in_all_shapes
def test_apply_backward(passes, size, widths, parts, layout):
    case = Case(size, widths, layout)
    residual = widths[0] == widths[2]
    p = case.p if "gram" in parts else None
    wanted = ["gram" in parts, "norms" in parts, "norms" in parts, "slices" in parts]
    *dsums, single_maps = [d if w else None for d, w in zip(case.dsums, wanted, strict=True)]
    u, e, *weights = leaves(case.u, case.e, case.wq, case.wk, case.wv, case.wo)
    o = case.o if single_maps is None else single_maps[:, 3]
    out = defined_apply(e, p, case.bias, o, weights[3], u if residual else None)
    sums = zip(
        defined_reduce(u, e, *weights[:3]), [*dsums, None if single_maps is None else single_maps[:, :3]], strict=True
    )
    pairs = [(out, case.dout), *((x, d) for x, d in sums if d is not None)]
    outputs, gradients = zip(*pairs, strict=True)
    of = [u, e, *(weights if wanted[3] else [])]
    # A map that nothing depends on has a gradient of zeros.
    expected = torch.autograd.grad(outputs, of, gradients, allow_unused=True, materialize_grads=True)
    given = (case.wq, case.wk, case.wv) if wanted[3] else (None, None, None)
    actual = passes.apply_backward(case.dout, case.u, case.e, p, *dsums, single_maps, *given, residual)
    for a, b in zip(actual[: len(expected)], expected, strict=True):
        assert_close(a, b, 1e-12)
    assert wanted[3] or actual[2:] == (None, None, None, None)
    assert all(x.is_contiguous(memory_format=layout) for x in actual[:2])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_sums_of_smaller_dtypes_are_in_float32(passes, dtype):
    """Only what is written as a map is rounded to the maps' precision."""
    case = Case((3, 4, 7), (4, 4, 4), dtype=dtype)
    if passes.run_pass is cpp.run_pass and dtype == torch.float16:
        assert cpp.unsupported_reason(case.u, case.e) == "maps of torch.float16"
        return
    float32 = [x.float() for x in (case.wq, case.wk, case.wv)]
    u, e = case.u.double(), case.e.double()
    expected = defined_reduce(u, e, *(w.double() for w in float32))
    for need_norms in (False, True):
        ue, _, _, qkv = passes.reduce(case.u, case.e, *float32, need_norms=need_norms)
        assert ue.dtype == (torch.float64 if need_norms else torch.float32)
        assert qkv.dtype == torch.float32
        assert_close(ue.double(), expected[0], 1e-12 if need_norms else 1e-6)
        assert_close(qkv.double(), expected[3], 1e-6)
    out = passes.apply(case.e, case.p.float(), case.bias.float(), case.o.float(), case.wo.float(), case.u)
    exact = defined_apply(e, case.p, case.bias, case.o, case.wo, u)
    assert out.dtype == dtype
    assert_close(out.double(), exact, torch.finfo(dtype).eps)


def test_views_are_read_where_they_are(passes):
    """Maps in either memory format, or some of a wider map's channels, are not copied as a whole."""
    wide = normal((2, 6, 3, 4, 7), generator(1))
    for layout in (torch.contiguous_format, torch.channels_last_3d):
        u, e = wide.contiguous(memory_format=layout).split(3, 1)
        with mock.patch.object(torch.Tensor, "contiguous", side_effect=AssertionError("copied")):
            ue, *_ = passes.reduce(u, e, None, None, None, need_norms=False)
        assert_close(ue, passes.reduce(u.contiguous(), e.contiguous(), None, None, None, False)[0], 1e-12)
        assert new_map(u, 5).is_contiguous(memory_format=layout)
