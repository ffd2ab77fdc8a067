"""Skips of the accuracy study that adapt: their formulas, their frozen forms, and what they refuse."""

import math
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.accuracy.causes.frozen_attention import frozen, mean_maps
from benchmarks.accuracy.skips.adaptive import AdaptiveSkip
from benchmarks.accuracy.skips.axial import AxialSliceAttention
from benchmarks.accuracy.skips.controls import AttentionGate, StaticSkip
from benchmarks.accuracy.skips.gated import GatedMixture
from benchmarks.accuracy.skips.gated_attention import GatedAttention
from benchmarks.accuracy.skips.selective import SelectiveGate
from benchmarks.accuracy.skips.windowed import WindowedChannelAttention, heads_of, interpolated, windowed_cosine
from benchmarks.accuracy.variants import make
from crossattn3d import ChannelCrossAttention3d, UNet3d
from support.study_cases import TINY

ADAPTIVE = (AttentionGate, GatedMixture, SelectiveGate, WindowedChannelAttention, AxialSliceAttention)
GATED = [partial(GatedAttention, name=name) for name in ("csca", "cca")]
SUMMED = tuple(kind for kind in ADAPTIVE if kind is not AttentionGate)
SIZES = st.tuples(st.integers(1, 7), st.integers(1, 19), st.integers(1, 21))


def randomized(skip: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """The skip in float64 with every parameter drawn, those that start at 0 too."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in skip.double().parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return skip


def maps(width: int, size: tuple[int, int, int], seed: int, batch: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(batch, width, *size, generator=generator, dtype=torch.float64) for _ in range(2))


@pytest.mark.parametrize("kind", [*ADAPTIVE, *GATED])
@given(size=SIZES, width=st.integers(1, 9), seed=st.integers(0, 2**32 - 1))
def test_a_skip_keeps_the_shape_and_what_it_is_frozen_to(kind: type, size: tuple, width: int, seed: int) -> None:
    skip = randomized(kind(width, width), seed)
    u, e = maps(width, size, seed, batch=1)
    out = skip(u, e)
    assert out.shape == (1, skip.out_channels, *size)
    assert out.isfinite().all()
    # Of one patch without a second place to average over, the means are the maps themselves.
    skip.fixed = skip.adapt(u, e)
    torch.testing.assert_close(skip(u, e), out)
    skip.fixed = skip.averaged(u, e)
    other, _ = maps(width, size, seed + 1, batch=1)
    shift = skip(other, e) - skip(u, e)
    # Frozen, the decoder map has no other way to the result than to be added, weighted in the selective gate.
    factor = skip.fixed["share"] if kind is SelectiveGate else 1.0
    torch.testing.assert_close(shift[:, -width:], factor * (other - u), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", [*ADAPTIVE, *GATED])
def test_all_parameters_learn(kind: type) -> None:
    skip = randomized(kind(6, 6))
    skip(*maps(6, (3, 17, 20), 1)).square().mean().backward()
    assert [name for name, p in skip.named_parameters() if p.grad is None or not p.grad.any()] == []


@pytest.mark.parametrize("kind", SUMMED)
def test_maps_of_two_widths_are_refused(kind: type) -> None:
    with pytest.raises(ValueError, match=rf"{kind.__name__}: expected maps of equal widths; got 4 and 8; take concat"):
        kind(4, 8)


def test_gated_attention_needs_equal_widths() -> None:
    with pytest.raises(ValueError, match=r"GatedAttention: expected maps of equal widths; got 4 and 8"):
        GatedAttention(4, 8, name="csca")


def test_an_adaptive_skip_without_its_parts_says_so() -> None:
    with pytest.raises(TypeError, match=r"abstract.* methods? '?adapt'?(, | and )'?mix'?"):
        AdaptiveSkip(1, {})


def test_a_static_skip_by_hand() -> None:
    skip = randomized(StaticSkip(3, 4))
    (u, _), (e, _) = maps(3, (2, 3, 5), 0), maps(4, (2, 3, 5), 1)
    weight = skip.static.weight[:, :, 0, 0, 0]
    expected = u + torch.einsum("oc,bcdhw->bodhw", weight, e) + skip.static.bias[:, None, None, None]
    torch.testing.assert_close(skip(u, e), expected)


def test_an_attention_gate_by_hand() -> None:
    skip = randomized(AttentionGate(3, 4))
    (u, _), (e, _) = maps(3, (2, 3, 5), 0), maps(4, (2, 3, 5), 1)
    gate = torch.sigmoid(skip.gate(torch.relu(skip.of_encoder(e) + skip.of_decoder(u))))
    assert gate.shape == (2, 1, 2, 3, 5)
    torch.testing.assert_close(skip(u, e), torch.cat([gate * e, u], 1))


@pytest.mark.parametrize(("gated", "attends"), [(True, True), (True, False), (False, True), (False, False)])
def test_a_gated_mixture_by_hand(gated: bool, attends: bool) -> None:
    skip = randomized(GatedMixture(5, 5, gated=gated, attends=attends))
    u, e = maps(5, (2, 3, 4), 0)
    p = skip.static(e)
    if attends:
        q, k = skip.to_query(u).flatten(2), skip.to_key(e).flatten(2)
        s = q.float() @ k.float().mT / q.shape[-1]
        s = (s - s.mean((1, 2), keepdim=True)) / (s.var((1, 2), correction=0, keepdim=True) + 1e-5).sqrt()
        m = s.softmax(-1).double() - 1 / 5
        p = p + (skip.gamma[:, None] * m @ skip.to_value(e).flatten(2)).view_as(p)
    if gated:
        p = p * torch.sigmoid(skip.gate_of_decoder(u) + skip.gate_of_encoder(e) + skip.gate_start.view(-1, 1, 1, 1))
    # Scores are computed in float32.
    torch.testing.assert_close(skip(u, e), u + p, rtol=1e-4, atol=1e-4)


def test_a_gated_mixture_starts_as_a_static_one_that_is_nearly_open() -> None:
    skip = GatedMixture(5, 5).double()
    for conv in (skip.gate_of_decoder, skip.gate_of_encoder):
        torch.nn.init.zeros_(conv.weight)
    u, e = maps(5, (2, 3, 4), 0)
    torch.testing.assert_close(skip(u, e), u + skip.static(e) / (1 + math.exp(-2)))


@pytest.mark.parametrize("size", [(3, 5, 7), (4, 6, 2)])
def test_a_gated_mixture_is_what_the_package_calls_gated(size: tuple[int, int, int]) -> None:
    studied, shipped = randomized(GatedMixture(6, 6)), ChannelCrossAttention3d(6, gated=True).double()
    names = {
        "static": "to_static", "gate_of_decoder": "gate.of_query", "gate_of_encoder": "gate.of_context",
        "gate_start": "gate.bias", "gamma": "gain",
    }  # fmt: skip
    state = {}
    for name, value in studied.state_dict().items():
        layer, _, rest = name.partition(".")
        state[".".join(filter(None, (names.get(layer, layer), rest)))] = value
    assert state.keys() == shipped.state_dict().keys()
    for name, value in GatedMixture(6, 6).state_dict().items():
        if name in ("gamma", "gate_start"):
            torch.testing.assert_close(ChannelCrossAttention3d(6, gated=True).state_dict()[names[name]], value)
    shipped.load_state_dict(state)
    u, e = maps(6, size, 3)
    # The study computes scores in float32.
    torch.testing.assert_close(shipped(u, e), studied(u, e), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["csca", "cca", "sca"])
def test_gated_attention_is_the_package_s_behind_a_gate(name: str) -> None:
    skip = randomized(GatedAttention(5, 5, name=name))
    u, e = maps(5, (2, 3, 4), 0)
    gate = torch.sigmoid(skip.gate_of_decoder(u) + skip.gate_of_encoder(e) + skip.gate_start.view(-1, 1, 1, 1))
    torch.testing.assert_close(skip(u, e), u + gate * skip.attention(u, e))
    torch.testing.assert_close(skip(u, e), skip.mix(u, e, skip.adapt(u, e)))


def test_a_selective_gate_by_hand() -> None:
    skip = randomized(SelectiveGate(3, 3))
    u, e = maps(3, (2, 4, 5), 0)
    statistics = [f(x, dim=(2, 3, 4)) for x in (u, e) for f in (torch.mean, lambda y, dim: y.std(dim, correction=0))]
    share = torch.sigmoid(skip.mlp(torch.cat(statistics, 1)))[..., None, None, None]
    torch.testing.assert_close(skip(u, e), share * u + (1 - share) * skip.static(e))


def test_windows_hold_the_correlation_of_their_channels() -> None:
    q, k = maps(6, (5, 33, 24), 0)
    q, k = q.view(2, 2, 3, 5, 33, 24), k.view(2, 2, 3, 5, 33, 24)
    found = windowed_cosine(q, k)
    assert found.shape == (2, 2, 3, 3, 1, 2, 2)
    # The windows of 33 rows have 17 and 16.
    for rows, row in ((slice(0, 17), 0), (slice(17, 33), 1)):
        one, other = q[1, 0, 2, :, rows, 12:], k[1, 0, 1, :, rows, 12:]
        expected = torch.corrcoef(torch.stack([one.flatten(), other.flatten()]))[0, 1]
        torch.testing.assert_close(found[1, 0, 2, 1, 0, row, 1], expected)


def test_maps_between_windows_are_pytorch_s_linear_interpolation() -> None:
    found = torch.randn(2, 2, 3, 3, 2, 3, 4, dtype=torch.float64)
    expected = F.interpolate(found.flatten(1, 3), (6, 12, 20), mode="trilinear").view(2, 2, 3, 3, 6, 12, 20)
    # Weights of the windows are computed in float32.
    torch.testing.assert_close(interpolated(found, (6, 12, 20)), expected, rtol=0, atol=1e-5)


def test_windowed_attention_in_one_window_by_hand() -> None:
    skip = randomized(WindowedChannelAttention(6, 6))
    u, e = maps(6, (3, 7, 5), 0)
    assert skip.heads == heads_of(6) == 1
    q, k, v = (conv(x).flatten(2) for conv, x in ((skip.to_query, u), (skip.to_key, e), (skip.to_value, e)))
    q, k = (F.normalize(x - x.mean(-1, keepdim=True), dim=-1) for x in (q, k))
    m = (skip.sharpness * (q @ k.mT)).softmax(-1) - 1 / 6
    torch.testing.assert_close(skip(u, e), u + skip.static(e) + (m @ v).view_as(u))


@pytest.mark.parametrize(("width", "heads"), [(1, 1), (8, 2), (10, 2), (16, 4), (23, 1), (32, 4)])
def test_heads_divide_the_channels(width: int, heads: int) -> None:
    assert heads_of(width) == heads


def test_slices_far_apart_do_not_attend_to_each_other() -> None:
    skip = randomized(AxialSliceAttention(4, 4))
    u, e = maps(4, (11, 9, 8), 0)
    found = skip.adapt(u, e)["maps"]
    assert found.shape == (2, 2, 1, 1, 11, 11)
    torch.testing.assert_close(found.sum(-1), torch.ones_like(found[..., 0]))
    far = (torch.arange(11)[:, None] - torch.arange(11)).abs() > 4
    assert not found[..., far].any()
    assert found[..., ~far].all()


def test_axial_attention_in_one_window_by_hand() -> None:
    skip = randomized(AxialSliceAttention(3, 3))
    u, e = maps(3, (4, 8, 8), 0)
    q, k, v = (conv(x).movedim(2, 1).flatten(2) for conv, x in
               ((skip.to_query, u), (skip.to_key, e), (skip.to_value, e)))  # fmt: skip
    q, k = (F.normalize(x - x.mean(-1, keepdim=True), dim=-1) for x in (q, k))
    distance = (torch.arange(4)[:, None] - torch.arange(4)).abs()
    m = (skip.sharpness * (q @ k.mT) - skip.slope * distance).softmax(-1)
    mixed = (m @ v).view(2, 4, 3, 8, 8).movedim(1, 2)
    torch.testing.assert_close(skip(u, e), u + skip.static(e) + skip.gamma.view(-1, 1, 1, 1) * mixed)


@pytest.mark.parametrize(
    "variant", ["attention-gate", "gated", "gated-csca", "gated-cca", "selective", "windowed", "axial"]
)
def test_a_net_with_its_means_is_a_fixed_one(variant: str) -> None:
    net: UNet3d = make(variant, TINY, 0).eval().double()
    for skip in net.skips:
        randomized(skip)
    images = [torch.randn(2, 1, 8, 16, 16, dtype=torch.float64) for _ in range(2)]
    found = mean_maps(net, images)
    assert all(found)
    fixed = frozen(net, found)
    with torch.inference_mode():
        assert not torch.allclose(fixed(images[0]), net(images[0]), rtol=0, atol=1e-9)
        # Another size, which the means of slices alone do not fit.
        if variant not in ("axial", "gated-csca"):
            assert fixed(torch.randn(1, 1, 16, 32, 24, dtype=torch.float64)).isfinite().all()
    assert all(skip.fixed is None for skip in net.skips)
