"""A RegionalNet gives the logits of its net, in what is wanted, whatever the input and the size."""

from collections.abc import Callable, Sequence
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch import Tensor, nn

from crossattn3d import UCANet, UNet3d
from crossattn3d.folding import fold_batch_norm
from crossattn3d.kernels import backends
from crossattn3d.kernels.cpp import convolution
from crossattn3d.regional import RegionalNet, is_regional
from crossattn3d.regional.boxes import dilated, tiles
from crossattn3d.regional.layers import halve
from support.backends import needs_cpp
from support.random_parameters import randomize

Size = tuple[int, int, int]
KINDS = ["concatenation", "csca", "cca", "sca", "gated csca", "gated cca", "gated sca"]
CHANNELS = (4, 5, 6)
Change = Callable[[UNet3d, UNet3d], None]


def net_of(kind: str, seed: int = 0, channels: Sequence[int] = CHANNELS, **options) -> UNet3d:
    """A net with random parameters, folded, float64."""
    attention = {} if kind == "concatenation" else {"attention": kind.split()[-1], "gated": "gated" in kind}
    net = (UCANet if attention else UNet3d)(1, 3, channels, **attention, **options)
    return fold_batch_norm(randomize(net, seed).double().eval())


def part(size: Size, rng: np.random.Generator) -> tuple[slice, ...]:
    """A box that may be empty and may touch every border."""
    return tuple(slice(*sorted(rng.integers(0, n + 1, 2))) for n in size)


def some(size: Size, rng: np.random.Generator) -> tuple[Tensor, np.ndarray]:
    """An input that is 0 outside of a box, and a mask with holes in another box."""
    x, wanted = torch.zeros(1, 1, *size, dtype=torch.float64), np.zeros(size, dtype=bool)
    box, other = part(size, rng), part(size, rng)
    x[0, 0][box] = torch.from_numpy(rng.standard_normal(x[0, 0][box].shape))
    wanted[other] = rng.random(wanted[other].shape) < 0.5
    return x, wanted


def put_together(answers, shape: torch.Size) -> Tensor:
    """Logits as a whole, nan where there are none."""
    whole = torch.full((1, 3, *shape[2:]), torch.nan, dtype=torch.float64)
    for box, logits in answers:
        assert whole[:, :, *box].isnan().all(), "boxes do not overlap"
        whole[:, :, *box] = logits.double()
    return whole


@example((5, 66, 9), "csca", 0)
@example((6, 8, 67), "concatenation", 0)
@example((4, 5, 6), "csca", 0)
@given(
    st.tuples(st.integers(4, 11), st.integers(4, 14), st.integers(4, 15)),
    st.sampled_from(KINDS),
    st.integers(0, 10_000),
)
def test_logits_are_those_of_the_net(size: Size, kind: str, seed: int) -> None:
    """Also of a second and a third input, for which the maps of the first one are used again."""
    rng = np.random.default_rng(seed)
    net = net_of(kind, seed)
    assert is_regional(net)
    regional = RegionalNet(net)
    for _ in range(3):
        x, wanted = some(size, rng)
        found = put_together(regional(x, wanted), x.shape)
        expected = net(x)
        there = torch.from_numpy(wanted).expand_as(expected)
        torch.testing.assert_close(found[there], expected[there], rtol=1e-9, atol=1e-9)


@needs_cpp
@pytest.mark.parametrize("channels", [(32, 64), (32, 64, 128)])
@pytest.mark.parametrize("kind", KINDS)
def test_logits_with_convolutions_in_cpp(kind: str, channels: Sequence[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the widths that C++ takes, in maps that are large enough for it, also where the last maps are used again."""
    calls, convolve, rng, size = [], convolution.convolve, np.random.default_rng(0), (5, 24, 70)
    monkeypatch.setattr(convolution, "convolve", lambda *given: calls.append(1) or convolve(*given))
    net, exact = net_of(kind, 0, channels).float(), net_of(kind, 0, channels)
    regional = RegionalNet(net)
    for _ in range(2):
        x, wanted = torch.zeros(1, 1, *size), np.zeros(size, dtype=bool)
        x[..., 3:20, 2:50] = torch.from_numpy(rng.standard_normal((5, 17, 48), dtype=np.float32))
        wanted[1:4, 9:, 40:] = rng.random((3, 15, 30)) < 0.5
        found, expected = put_together(regional(x, wanted), x.shape), exact(x.double())
        assert calls
        there = torch.from_numpy(wanted).expand_as(expected)
        # Each convolution errs by 1e-6 of its scale in the root mean square: test_cpp_convolution.py has the bound.
        assert (found - expected)[there].abs().max() < 1e-5 * expected.abs().max()
        calls.clear()


@pytest.mark.parametrize("score_norm", ["none", "sqrt", "mean", "cosine", "instance"])
@pytest.mark.parametrize("residual", [False, True])
def test_every_attention(score_norm: str, residual: bool) -> None:
    """Slices may be counted by any dimension."""
    rng = np.random.default_rng(1)
    for slice_dim in (-3, 3, -1):
        net = net_of("csca", 2, score_norm=score_norm, residual=residual, slice_dim=slice_dim)
        x = torch.from_numpy(rng.standard_normal((1, 1, 6, 9, 11)))
        everything = np.ones((6, 9, 11), dtype=bool)
        torch.testing.assert_close(put_together(RegionalNet(net)(x, everything), x.shape), net(x), rtol=1e-9, atol=1e-9)


def test_sizes_and_dtypes_may_change_from_input_to_input() -> None:
    net = net_of("csca").float()
    regional, rng = RegionalNet(net), np.random.default_rng(0)
    for size, half in (((5, 9, 12), False), ((6, 8, 10), False), ((6, 8, 10), True)):
        x = torch.from_numpy(rng.standard_normal((1, 1, *size), dtype=np.float32))
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            found = put_together(regional(x, np.ones(size, dtype=bool)), x.shape)
            expected = net(x).double()
        # bfloat16 has 8 bits; sums of its products may be rounded in another order.
        tolerance = 0.05 if half else 1e-5
        assert (found - expected).abs().max() < tolerance * expected.abs().max()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_on_a_processor_without_instructions_for_it(dtype: torch.dtype) -> None:
    """Where oneDNN refuses it."""
    net = net_of("csca").float()
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((1, 1, 6, 8, 10), dtype=np.float32))
    onednn = mock.Mock(side_effect=RuntimeError("mkldnn_convolution: needs the cpu support"))
    supported = mock.Mock(_is_mkldnn_bf16_supported=lambda: False, _is_mkldnn_fp16_supported=lambda: False)
    with torch.autocast("cpu", dtype):
        with mock.patch.object(torch, "mkldnn_convolution", onednn), mock.patch.object(torch.ops, "mkldnn", supported):
            found = put_together(RegionalNet(net)(x, np.ones((6, 8, 10), dtype=bool)), x.shape)
        expected = net(x).double()
    assert (found - expected).abs().max() < 0.05 * expected.abs().max()


def load(net: UNet3d, other: UNet3d) -> None:
    net.load_state_dict(other.state_dict())


def write_in_place(net: UNet3d, other: UNet3d) -> None:
    with torch.no_grad():
        for parameter, value in zip(net.parameters(), other.parameters(), strict=True):
            parameter.copy_(value)


def replace_data(net: UNet3d, other: UNet3d) -> None:
    for parameter, value in zip(net.parameters(), other.parameters(), strict=True):
        parameter.data = value.data.clone()


def change_biases(net: UNet3d, other: UNet3d) -> None:
    """Of the first convolution alone: only the map of an empty input shows them everywhere."""
    net.encoder[0][0].bias.data += 1


@pytest.mark.parametrize("change", [load, write_in_place, replace_data, change_biases])
@pytest.mark.parametrize("kind", KINDS)
def test_weights_may_change_from_input_to_input(kind: str, change: Change) -> None:
    """Also where no input was other than 0, and where the map of an empty input is kept from before."""
    net, size = net_of(kind), (5, 12, 70)
    regional, everywhere = RegionalNet(net), np.ones(size, dtype=bool)
    x = torch.zeros(1, 1, *size, dtype=torch.float64)
    x[..., 3:6, 2:5] = torch.from_numpy(np.random.default_rng(0).standard_normal((5, 3, 3)))
    before = put_together(regional(x, everywhere), x.shape)
    change(net, net_of(kind, 1))
    found, expected = put_together(regional(x, everywhere), x.shape), net(x)
    assert (before - expected).abs().max() > 0.01 * expected.abs().max()
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


def add_to_data(net: UNet3d, other: UNet3d) -> None:
    """PyTorch does not count such a change."""
    net.encoder[0][3].weight.data += other.encoder[0][3].weight.data


@needs_cpp
@pytest.mark.parametrize(
    ("change", "convolutions"), [(load, 5), (write_in_place, 5), (replace_data, 5), (add_to_data, 1)]
)
@pytest.mark.parametrize("made", [torch.enable_grad, torch.inference_mode])
def test_weights_that_cpp_reads_may_change(
    change: Change, convolutions: int, made: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of five convolutions are transformed at the first call, and after a change alone, whoever made them."""
    monkeypatch.setattr(backends, "IN_PLACE_OF_AUTO", "cpp")
    with made():
        net, other = (net_of("concatenation", seed, (32, 64)).float() for seed in (0, 1))
    regional, everywhere = RegionalNet(net), np.ones((4, 8, 12), dtype=bool)
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((1, 1, 4, 8, 12), dtype=np.float32))
    calls, transformed = [], convolution.transformed
    monkeypatch.setattr(convolution, "transformed", lambda weight: calls.append(weight) or transformed(weight))
    first, second = (put_together(regional(x, everywhere), x.shape) for _ in range(2))
    assert len(calls) == 5
    assert torch.equal(first, second)
    with made():
        change(net, other)
    found, expected = put_together(regional(x, everywhere), x.shape), net(x).double()
    assert len(calls) == 5 + convolutions
    assert (first - expected).abs().max() > 0.01 * expected.abs().max()
    # In float32, a sum of 576 products errs by a few times 2^-24; there are five, one after the other.
    assert (found - expected).abs().max() < 1e-5 * expected.abs().max()


@given(
    st.tuples(st.integers(1, 9), st.integers(1, 6), st.integers(1, 7)), st.sampled_from([torch.float64, torch.bfloat16])
)
def test_pooling_is_pytorchs(size: Size, dtype: torch.dtype) -> None:
    """And leaves its input as it is."""
    x = torch.randn((1, 3, *size), generator=torch.Generator().manual_seed(sum(size)), dtype=torch.float64).to(dtype)
    x = x.contiguous(memory_format=torch.channels_last_3d)
    before = x.clone()
    torch.testing.assert_close(halve(x), nn.functional.max_pool3d(x, 2, ceil_mode=True), rtol=0, atol=0)
    torch.testing.assert_close(x, before, rtol=0, atol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_autocast_leaves_float64_as_it_is(kind: str) -> None:
    net, x = net_of(kind), torch.from_numpy(np.random.default_rng(0).standard_normal((1, 1, 4, 9, 11)))
    with torch.autocast("cpu", torch.bfloat16):
        found, expected = put_together(RegionalNet(net)(x, np.ones(x.shape[2:], dtype=bool)), x.shape), net(x)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


def test_nothing_wanted_is_nothing_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    net = net_of("csca")
    monkeypatch.setattr(net.encoder[1], "forward", lambda _x: pytest.fail("computed"))
    assert not list(RegionalNet(net)(torch.ones(1, 1, 8, 9, 10, dtype=torch.float64), np.zeros((8, 9, 10), dtype=bool)))


def hooked(net: UNet3d) -> UNet3d:
    net.decoder[0][0].register_forward_hook(lambda *_: None)
    return net


def patched(net: UNet3d) -> UNet3d:
    net.encoder[1].forward = nn.Identity().forward
    return net


def replaced(net: UNet3d) -> UNet3d:
    net.encoder[0][2] = nn.LeakyReLU()
    return net


@pytest.mark.parametrize(
    "net",
    [
        UNet3d(1, 3, CHANNELS).eval(),
        fold_batch_norm(UNet3d(1, 3, CHANNELS).eval()).train(),
        net_of("csca", norm="instance"),
        net_of("csca", backend="reference"),
        net_of("csca", upsample="interpolate"),
        net_of("csca", up_norm=True),
        net_of("csca", deep_supervision=True),
        net_of("csca", strides=[(1, 2, 2), 2]),
        net_of("csca", kernel_sizes=[5, 3, 3]),
        hooked(net_of("csca")),
        patched(net_of("csca")),
        replaced(net_of("csca")),
        nn.Identity(),
    ],
    ids=["norm", "train", "instance", "reference", "interpolate", "up_norm", "deep_supervision", "strides", "kernels",
         "hooked", "patched", "replaced", "no net"],
)  # fmt: skip
def test_other_nets_are_not_regional(net: nn.Module) -> None:
    assert not is_regional(net)


@given(st.tuples(st.integers(1, 5), st.integers(1, 9), st.integers(1, 12)), st.integers(1, 4), st.integers(0, 10_000))
def test_tiles_hold_the_mask(size: Size, side: int, seed: int) -> None:
    mask = np.random.default_rng(seed).random(size) < 0.1
    held = np.zeros(size, dtype=int)
    for box in tiles(mask, side):
        held[box] += 1
    assert held.max() <= 1
    assert not (mask & (held == 0)).any()


@given(st.tuples(st.integers(1, 5), st.integers(1, 9), st.integers(1, 12)), st.integers(0, 6), st.integers(0, 10_000))
def test_a_mask_grows_by_voxels(size: Size, voxels: int, seed: int) -> None:
    mask = np.random.default_rng(seed).random(size) < 0.05
    expected = np.zeros(size, dtype=bool)
    for at in np.argwhere(mask):
        expected[tuple(slice(max(0, i - voxels), i + voxels + 1) for i in at)] = True
    np.testing.assert_array_equal(dilated(mask, voxels), expected)
