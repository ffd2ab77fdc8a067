"""The Triton passes against plain formulas in float64; run by test_triton.py, and by gpu_check.py on a GPU.

    TRITON_INTERPRET=1 python tests/support/triton_cases.py GROUP...     on the CPU, in Triton's interpreter
    python tests/support/triton_cases.py GROUP...                        on the GPU

With EVERY=4 in the environment, every fourth case of a pass is computed.

Each result may err twice as much as the formula in float32 on the same maps, rounded to the maps' dtype, plus one
rounding of float32 at the size of the terms that are summed (`formulas` on absolute values).
"""

import copy
import itertools
import math
import mmap
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

import torch
from torch import Tensor

from crossattn3d import CSCA, ChannelCrossAttention3d, SliceCrossAttention3d
from crossattn3d.functional import GateParameters, gated
from crossattn3d.kernels.centers import Centers
from crossattn3d.kernels.triton import launch, tuning
from crossattn3d.kernels.triton.run import run_pass, unsupported_reason
from support.four_passes import FourPasses
from support.interpreter import patch_language_once
from support.output_and_gradients import output_and_gradients
from support.pass_formulas import Formulas
from support.random_maps import DTYPES, FORMATS, HALF_ULP, PAPER, SHAPES, Case, feature_map, known, normal, rms
from support.random_parameters import maps, randomize

TRITON = FourPasses(run_pass)


def converted(arguments: tuple[Any, ...], how: Callable[[Tensor], Tensor], sign: float = 1) -> tuple[Any, ...]:
    """Convert all tensors; `sign` is that of the centers, which are taken off."""
    centers = (Centers(*(sign * how(x) for x in a)) if isinstance(a, Centers) else a for a in arguments)
    return tuple(how(a) if isinstance(a, Tensor) else a for a in centers)


def accumulations(case: Case) -> float:
    """Roundings at the size of the terms: tensor cores cut off, by up to a unit, each sum over 16 more terms.

    They sum over the channels or over the voxels of a tile, at most 256; sums of tiles, of 64 voxels or more in half
    precision, are rounded to nearest, by at most half a unit.
    """
    if launch.INTERPRETED or case.dtype == torch.float32:
        return 1.0
    widest, processors = max(case.cu, case.ce), torch.cuda.get_device_properties(0).multi_processor_count
    blocks = case.batch * math.ceil(case.cu / tuning.BLOCK_WIDE) * math.ceil(case.ce / tuning.BLOCK_WIDE)
    run = max(math.prod(case.size) * blocks / launch.PROGRAMS / processors, launch.VOXELS_PER_CHANNEL * widest)
    return 2.0 * math.ceil(max(256, widest) / 16 + 8) + run / 64


def compare(name: str, case: Case, arguments: tuple[Any, ...], single: tuple[int, ...]) -> dict[str, float]:
    """Run the pass, on a GPU twice, and hold it to the bound above; the errors in units of it.

    Args:
        name: of the pass.
        case: what the maps are, for the message.
        arguments: of the pass.
        single: which of the results are maps, in their dtype.
    """
    runs = [getattr(TRITON, name)(*arguments) for _ in range(1 if launch.INTERPRETED else 2)]
    actual, again = (x if isinstance(x, tuple) else (x,) for x in (runs[0], runs[-1]))
    formula = getattr(Formulas, name)
    truth = formula(*converted(arguments, Tensor.double))
    plain = formula(*converted(arguments, Tensor.float))
    size = formula(*converted(arguments, lambda x: x.double().abs(), sign=-1))
    assert len(actual) == len(truth)
    used = {}
    for i, (a, r, t, p, s) in enumerate(zip(actual, again, truth, plain, size, strict=True)):
        what = f"{name}[{i}] of {case}"
        assert (a is None) == (t is None), what
        if a is None or t is None:
            continue
        assert a.shape == t.shape, what
        assert torch.isfinite(a).all(), f"{what}: not finite"
        assert torch.equal(a, r), f"{what}: differs from run to run"
        assert a.dtype == (case.dtype if i in single else a.dtype), what
        if a.dtype == torch.float64:
            # Maps less their centers are rounded to float32, and what is summed is the product of two.
            rounding = math.prod(case.size) * 2.0**-53 + 2 * HALF_ULP * any(isinstance(x, Centers) for x in arguments)
            bound = rounding * s.max().item()
            error = (a - t).abs().max().item()
        else:
            floor = accumulations(case) * HALF_ULP * rms(s)
            bound = 2 * rms(p.to(a.dtype).double() - t) + floor
            error = rms(a.double() - t)
        used[f"{name}[{i}]"] = error / bound
        assert error <= bound, f"{what}: error {error:.2e}, allowed {bound:.2e}"
    return used


def run_case(name: str, case: Case, variant: int, seed: int, device: str) -> dict[str, float]:
    """One pass on random input of the case; `variant` is 0 with everything, then with parts left out."""
    g = torch.Generator(device).manual_seed(seed)
    b, c, voxels = case.batch, case.cu if variant != 1 else 7, math.prod(case.size)
    u = feature_map((b, case.cu, *case.size), case.dtype, case.of_u, g)
    e = feature_map((b, case.ce, *case.size), case.dtype, case.of_e, g)
    dout = feature_map((b, c, *case.size), case.dtype, case.of_e, g)
    wq, wk, wv, wo = (normal(n, g=g) for n in (case.cu + 1, case.ce + 1, case.ce + 1, c))
    p, bias, o = normal(b, c, case.ce, g=g), normal(b, c, g=g), normal(b, voxels, g=g)
    single_maps = normal(b, 4, voxels, g=g)
    # Gradients of Gram matrices are tiny, far below what float16 can hold, and of different sizes.
    due, duu, dee = (
        1e-6 * normal(b, m + 1, n + 1, g=g) for m, n in ((case.cu, case.ce), (case.cu, case.cu), (case.ce, case.ce))
    )
    without_channels, without_slices = variant == 2, variant == 3
    centers = None if case.dtype != torch.float32 or variant == 2 else Centers(*(normal(b, n, g=g) for n in case[:2]))
    if name == "reduce":
        weights = (None, None, None) if without_slices else (wq, wk, wv)
        return compare(name, case, (u, e, *weights, variant == 1, not without_channels, centers), ())
    if name == "apply":
        slices = (None, None) if without_slices else (o, wo)
        residual = None if variant == 1 else u
        return compare(name, case, (e, None if without_channels else p, bias, *slices, residual), (0,))
    if name == "reduce_backward":
        slices = (None,) * 4 if without_slices else (wq, wk, wv, wo)
        return compare(name, case, (dout, u, e, *slices, centers), ())
    slices = (None,) * 4 if without_slices else (single_maps, wq, wk, wv)
    channels = (None, None) if without_channels else (p, due)
    norms = (duu, dee) if variant == 1 else (None, None)
    return compare(name, case, (dout, u, e, *channels, *norms, *slices, variant in (0, 2)), (0, 1))


def cases() -> Iterator[tuple[Case, int]]:
    """Every shape in every dtype, every pair of formats, every variant with few and with many channels."""
    for shape, dtype in itertools.product(SHAPES, DTYPES):
        yield Case(*shape, dtype, "contiguous", "channels_last"), 0
    for formats, dtype in zip(itertools.product(FORMATS, FORMATS), 3 * DTYPES, strict=True):
        yield Case(17, 6, (2, 7, 11), dtype, *formats), 1
    for variant, shape in itertools.product((1, 2, 3), (SHAPES[2], SHAPES[4])):
        yield Case(*shape, torch.bfloat16, "channels_last", "contiguous"), variant
    # dU is then made of gradients that float16 cannot hold, and nothing else.
    yield Case(*SHAPES[2], torch.float16, "contiguous", "contiguous"), 3
    yield Case(3, 2, (1, 1, 1), torch.float32, "contiguous", "contiguous", batch=1), 0


def check_pass(name: str, device: str) -> str:
    used: dict[str, float] = {}
    chosen = list(enumerate(cases(), 1))[:: int(os.environ.get("EVERY", "1"))]
    for count, (case, variant) in chosen:
        for key, value in run_case(name, case, variant, 1000 + count, device).items():
            used[key] = max(value, used.get(key, 0.0))
    return f"{len(chosen)} cases, " + ", ".join(f"{key} {value:.2f}" for key, value in used.items())


def check_offsets(device: str) -> str:
    """Channels 2^30 elements apart: the offset of the fourth passes 2^31. Memory that nothing touches costs nothing."""
    apart, size = 2**30 + 16, (1, 2, 35)
    count = 3 * apart + 70
    if device == "cpu":
        memory = torch.frombuffer(mmap.mmap(-1, 2 * count), dtype=torch.float16)
    else:
        memory = torch.zeros(count, dtype=torch.float16, device=device)
    far = memory.as_strided((1, 4, *size), (4 * apart, apart, 70, 35, 1))
    g = torch.Generator(device).manual_seed(5)
    far.copy_(normal(1, 4, *size, g=g))
    near = far.clone(memory_format=torch.contiguous_format)
    w, p, bias = normal(5, g=g), normal(1, 4, 4, g=g), normal(1, 4, g=g)
    expected = TRITON.reduce(near, near, w, w, w, False), TRITON.apply(near, p, bias, None, None, near)

    def same(x: Tensor | None, y: Tensor | None) -> bool:
        # Another layout may be summed in another order: each of 75 terms or fewer rounds once, at the largest sum.
        size = known(y).double().abs().max().item()
        ulp = 2.0**-10 if known(y).dtype == torch.float16 else 75 * 2 * HALF_ULP
        return bool((known(x).double() - known(y).double()).abs().max() <= ulp * size)

    for u, e in ((far, near), (near, far)):
        ue, _, _, qkv = TRITON.reduce(u, e, w, w, w, False)
        assert same(ue, expected[0][0])
        assert same(qkv, expected[0][3])
        assert same(TRITON.apply(e, p, bias, None, None, u), expected[1])
    check_single_offsets(device)
    return f"{count} elements"


def check_single_offsets(device: str) -> None:
    """Three single-channel maps of as many voxels as are taken: a sample begins 3 (2^30 - 1) after the one before."""
    apart, size = 3 * (2**30 - 1), (1, 2, 35)
    if device == "cpu":
        memory = torch.frombuffer(mmap.mmap(-1, 4 * (apart + 210)), dtype=torch.float32)
    else:
        memory = torch.zeros(apart + 210, device=device)
    g = torch.Generator(device).manual_seed(6)
    far, near = memory.as_strided((2, 3, 70), (apart, 70, 1)), torch.zeros(2, 3, 70, device=device)
    x, w, p = normal(2, 4, *size, g=g).flatten(2), normal(2, 4, g=g), normal(2, 4, 4, g=g)
    results = []
    for single in (far, near):
        of_x = [launch.Projection(w, w[:, row], single[:, row]) for row in range(3)]
        launch.moments(x, x, of_x[0], of_x[1:])
        first, second, third = (launch.Weighted(single[:, row], 4 * row) for row in range(3))
        slots = launch.slots_for(x, 13, 1, torch.float32)
        launch.moments(x, weighted=[first, second], slots=slots)
        out = torch.empty_like(x)
        launch.mix(out, [launch.Source(x, p)], None, [(w, first._replace(place=12))], None, [third], slots=slots)
        results.append((single, slots.memory, out))
    for a, b in zip(*results, strict=True):
        assert torch.equal(a, b)


def check_supports(device: str) -> str:
    """Maps that cannot be computed are refused with a reason."""
    x = torch.zeros(1, 2, 3, 4, 5, device=device)
    vast = x[:, :, :1, :1, :1].expand(1, 2, 2, 2**14, 2**15)
    reasons = [
        (x.double(), x.double(), "maps are torch.float64 and torch.float64, not both float32, bfloat16 or float16"),
        (x, x.half(), "maps are torch.float32 and torch.float16, not both float32, bfloat16 or float16"),
        (vast, vast, "maps have 1073741824 voxels, 2**30 or more"),
    ]
    for u, e, reason in reasons:
        assert unsupported_reason(u, e) == reason
    assert unsupported_reason(x, x) is None
    return f"{len(reasons)} reasons"


def check_attention(device: str) -> str:
    """The whole attention and every gradient: at most twice as wrong as the other ways in the same dtype.

    Of a handful of numbers, either of the others may by chance be right to the last digit; so the worse one counts.
    """
    worst = 0.0
    # Half precision has lost what is left of features with an offset.
    kinds = [(CSCA, score_norm, False) for score_norm in ("instance", "cosine", "sqrt", "mean")]
    kinds.append((CSCA, "instance", True))
    places = [*((dtype, 0) for dtype in DTYPES), (torch.float32, 30)]
    cases = [*itertools.product(kinds, places)]
    # The sums of a gate have no centers: with an offset, their rounding is that of the order of the terms.
    halves = [(half, "instance", True) for half in (ChannelCrossAttention3d, SliceCrossAttention3d)]
    cases += itertools.product(halves, places[:-1])
    for (kind, score_norm, has_gate), (dtype, offset) in cases:
        module = randomize(kind(4, 6, score_norm=score_norm, slice_dim=-2, gated=has_gate), 1).to(device, dtype)
        u, e = ((x + offset).to(device, dtype) for x in maps(2, 2, 4, 6, (3, 5, 19)))
        e = e.to(memory_format=torch.channels_last_3d)
        exact = copy.deepcopy(module).double(), u.double(), e.double()
        truth = output_and_gradients(*exact, "reference")
        others = [output_and_gradients(module, u, e, way) for way in ("reference", "torch")]
        actual = output_and_gradients(module, u, e, "triton")
        # Parameters without effect get the rounding of what cancels, which has the size of the others.
        floor = 4 * HALF_ULP * max(rms(x) for x in truth.values())
        for name, value in truth.items():
            error = rms(actual[name].double() - value)
            allowed = 2 * max(rms(x[name].double() - value) for x in others) + floor
            worst = max(worst, error / allowed)
            assert error <= allowed, (
                f"{name}, {kind.__name__}, {score_norm}, {dtype}: error {error:.2e}, allowed {allowed:.2e}"
            )
    check_layouts(device)
    return f"{worst:.2f}"


def check_layouts(device: str) -> None:
    """Results lie in memory as the operation announces, for channels of a wider map and for a batch of none, too."""
    layouts = torch.contiguous_format, torch.channels_last_3d
    for layout, batch, score_norm in itertools.product(layouts, (0, 2), ("instance", "cosine")):
        wide = torch.ones(batch, 10, 3, 5, 7, device=device).contiguous(memory_format=layout)
        u, e = wide[:, :4], wide[:, 4:]
        module = randomize(CSCA(4, 6, score_norm=score_norm, backend="triton"), 1).to(device)
        parts = module.channel.parameters_of_attention(), module.slices.parameters_of_attention()
        given = u, e, *([p for p in part if p is not None] for part in parts), *module.attention
        with torch.no_grad():
            out, sums = torch.ops.crossattn3d.attend(*given)
            backward = out, u, e, sums, *given[2:]
            torch.ops.crossattn3d.attend_backward(*backward)
            if batch:
                for operation, inputs in (("attend", given), ("attend_backward", backward)):
                    called = getattr(torch.ops.crossattn3d, operation).default
                    torch.library.opcheck(called, inputs, test_utils=("test_schema", "test_faketensor"))
        assert out.shape == e.shape
        assert batch == 0 or out.is_contiguous(memory_format=layout)
    # A matrix of one row may have any strides.
    x, weight = torch.ones(1, 1, 2, 3, 5, device=device, requires_grad=True), torch.ones(2, 2, device=device)[:1, :1]
    gate = GateParameters(weight, weight, torch.zeros(1, device=device))
    for backend in ("triton", "reference"):
        gated(x, x, x, gate, backend=backend).sum().backward()
    # Both are added, with O = sigmoid(2 X) X + X at 1.
    opened = torch.tensor(2.0).sigmoid()
    expected = torch.full_like(x, float(2 * (1 + opened + 2 * opened * (1 - opened))))
    torch.testing.assert_close(x.grad, expected)


def check_sizes(device: str) -> str:
    """Every pass at the sizes of the paper's network."""
    worst = 0.0
    for channels, size, dtype, formats in (
        (32, PAPER, torch.bfloat16, ("contiguous", "channels_last")),
        (32, PAPER, torch.float16, ("channels_last", "contiguous")),
        (32, (32, 160, 160), torch.float32, ("contiguous", "contiguous")),
        (64, (16, 160, 160), torch.bfloat16, ("contiguous", "contiguous")),
        (128, (8, 80, 80), torch.bfloat16, ("channels_last", "channels_last")),
        (320, (4, 20, 20), torch.bfloat16, ("contiguous", "contiguous")),
    ):
        case = Case(channels, channels, size, dtype, *formats, batch=1)
        for name in PASSES:
            worst = max(worst, *run_case(name, case, 0, 7, device).values())
            torch.cuda.empty_cache()
    return f"{worst:.2f}"


def check_large_batch(device: str) -> str:
    """Three samples of 320 channels, 3.1e9 elements a map: the last sample comes out as it does alone."""
    g = torch.Generator(device).manual_seed(3)
    e = torch.randn((3, 320, *PAPER), generator=g, device=device, dtype=torch.bfloat16)
    p, bias = normal(3, 320, 320, g=g) / 18, normal(3, 320, g=g)
    many, one = (TRITON.apply(x, p[-n:], bias[-n:], None, None, x) for x, n in ((e, 3), (e[2:].clone(), 1)))
    torch.testing.assert_close(many[2:], one, rtol=0, atol=0)
    end = slice(-4096, None)
    truth = p[2].double() @ e[2].flatten(1)[:, end].double() + bias[2, :, None] + e[2].flatten(1)[:, end]
    error, allowed = rms(one[0].flatten(1)[:, end].double() - truth), 2 * rms(truth.bfloat16().double() - truth)
    assert error <= allowed, error
    del many, one
    # The longest sum is one of 3,700 tiles; rounded to nearest, it errs by some 60 half units, 4e-6.
    grams = (TRITON.reduce(x, x, None, None, None, False)[0] for x in (e, e[2:].clone()))
    many_gram, one_gram = (known(gram)[-1] for gram in grams)
    torch.testing.assert_close(many_gram, one_gram, rtol=1e-4, atol=1e-4 * math.prod(PAPER))
    return f"{error / allowed:.2f}"


PASSES = ("reduce", "apply", "reduce_backward", "apply_backward")
GROUPS: dict[str, Callable[[str], str]] = {
    **{name: lambda device, name=name: check_pass(name, device) for name in PASSES},  # type: ignore[misc]
    "attention": check_attention,
    "offsets": check_offsets,
    "supports": check_supports,
}
#: What takes a GPU's memory and speed, too.
ON_GPU = GROUPS | {"sizes": check_sizes, "large_batch": check_large_batch}


def main(groups: list[str]) -> None:
    if launch.INTERPRETED:
        patch_language_once()
    device = "cpu" if launch.INTERPRETED else "cuda"
    torch.set_num_threads(1)
    # Fills what is allocated with NaN; elements that nothing writes show.
    torch.use_deterministic_algorithms(True)
    assert torch.empty(3, device=device).isnan().all()
    for group in groups:
        print(f"{group}: {ON_GPU[group](device)}")


if __name__ == "__main__":
    main(sys.argv[1:])
