"""Convolutions in C++ are those of PyTorch, in every box of a map, and err little more."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import example, given
from hypothesis import strategies as st
from torch import Tensor, nn

from crossattn3d import UNet3d
from crossattn3d.folding import fold_batch_norm
from crossattn3d.kernels.cpp import convolution
from crossattn3d.regional import RegionalNet
from crossattn3d.regional.boxes import Box, grown
from crossattn3d.regional.layers import Transforms, Weights, convolve
from support.backends import needs_cpp
from support.random_parameters import generator, normal

pytestmark = needs_cpp

Size = tuple[int, int, int]
sizes = st.tuples(st.integers(1, 12), st.integers(1, 9), st.integers(1, 19))
#: Weights that are multiples of it are transformed to integers: the denominators are those of 1/2 times 1/24.
WHOLE = 48


def layer_of(channels: int, width: int, rng: np.random.Generator) -> nn.Conv3d:
    """A layer in which, with inputs of -1, 0 and 1 in 64 channels at most, all numbers are integers below 2^24.

    The largest is below (27 * 64 * 48) * 4 * 29, which is what the matrices of F(2, 3) and F(4, 3) make of it.
    """
    layer = nn.Conv3d(channels, width, 3, padding=1)
    layer.weight.data = WHOLE * torch.from_numpy(rng.integers(-1, 2, layer.weight.shape)).float()
    layer.bias.data = torch.from_numpy(rng.integers(-999, 1000, width)).float()
    return layer


def box_of(size: Size, rng: np.random.Generator) -> Box:
    """A box with a voxel at least, which often ends with the map."""
    d, h, w = (slice(*sorted(rng.choice([0, n, *range(n)], 2, replace=False).tolist())) for n in size)
    return tuple(s if s.start < s.stop else slice(0, n) for s, n in zip((d, h, w), size, strict=True))


def surrounded(x: Tensor, by: float) -> Tensor:
    """The same values, channels last, with others in the memory around each axis."""
    wide = F.pad(x, (2, 3) * 3 + (1, 2), value=by).contiguous(memory_format=torch.channels_last_3d)
    return wide[:, 1:-2, 2:-3, 2:-3, 2:-3]


@example((12, 5, 130), 16, 64, 1, 0)
@example((1, 1, 1), 48, 32, 3, 1)
@example((30, 3, 5), 32, 32, 16, 2)
@given(sizes, st.sampled_from([16, 32, 64]), st.sampled_from([32, 64]), st.integers(1, 3), st.integers(0, 10_000))
def test_in_integers_it_is_exact(size: Size, channels: int, width: int, threads: int, seed: int) -> None:
    """In each box, whatever is in memory outside of what the box depends on, in both memory formats."""
    rng = np.random.default_rng(seed)
    layer, box = layer_of(channels, width, rng), box_of(size, rng)
    weights = Weights.of(layer, torch.float32, Transforms())
    assert weights.transformed is not None
    x = torch.from_numpy(rng.integers(-1, 2, (1, channels, *size))).float()
    expected = layer.double()(x.double()).relu()[:, :, *box].detach().float()
    around = grown(box, 1, size)
    part, before = x[:, :, *around], torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        for given_as in (part.contiguous(), surrounded(part, torch.nan)):
            torch.testing.assert_close(convolve(weights, given_as, around, box, size), expected, rtol=0, atol=0)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("channels", [32, 64, 128])
def test_it_errs_no_more_than_sums_of_one_product_after_the_other(channels: int) -> None:
    """Partial sums of n products grow with their number's root, and each is rounded: a relative error of sqrt(n / 6) u.

    The transformations multiply by up to 8 and subtract again, but there are fewer products.
    """
    size = (6, 21, 39)
    whole = tuple(slice(0, n) for n in size)
    x = normal((1, channels, *size), generator(1), torch.float32).relu()
    layer = nn.Conv3d(channels, 32, 3, padding=1)
    with torch.no_grad():
        found = convolve(Weights.of(layer, torch.float32, Transforms()), x, whole, whole, size)
        truth = layer.double()(x.double()).relu()
    error, scale = ((y.square().mean().sqrt()) for y in (found - truth, truth))
    assert error <= scale * (27 * channels / 6) ** 0.5 * 2**-24


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [((32, 8, 3, 3, 3), torch.float32), ((48, 16, 3, 3, 3), torch.float32), ((32, 16, 3, 3, 1), torch.float32),
     ((256, 256, 3, 3, 3), torch.float32), ((32, 16, 3, 3, 3), torch.float64), ((32, 16, 3, 3, 3), torch.bfloat16)],
)  # fmt: skip
def test_others_are_left_to_pytorch(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    """Other widths and sizes, numbers of weights that do not stay in the cache, other dtypes."""
    assert not convolution.is_supported(torch.zeros(shape, dtype=dtype))
    assert convolution.is_supported(torch.zeros(32, 16, 3, 3, 3))


def test_transposed_convolutions_are_left_to_pytorch() -> None:
    assert Weights.of(nn.ConvTranspose3d(32, 32, 3), torch.float32, Transforms()).transformed is None


def test_without_a_compiler_it_is_left_to_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convolution, "library", lambda: "no compiler")
    assert not convolution.is_supported(torch.zeros(32, 16, 3, 3, 3))


@pytest.mark.parametrize(
    ("backend", "small", "large"),
    [
        ("", False, True),
        ("auto", False, True),
        ("cpp", True, True),
        ("torch", False, False),
        ("reference", False, False),
    ],
)
def test_the_environment_and_the_size_say_whether_it_is_wanted(
    backend: str, small: bool, large: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crossattn3d.kernels.backends.IN_PLACE_OF_AUTO", backend)
    assert [convolution.is_wanted(values) for values in (2**18 - 1, 2**18)] == [small, large]


@pytest.mark.parametrize(
    ("backend", "width", "compiles"), [("", 21, False), ("", 22, True), ("torch", 22, False), ("cpp", 21, True)]
)
def test_nothing_is_compiled_for_small_maps_or_another_backend(
    backend: str, width: int, compiles: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Maps of 32 channels and 16 x 24 rows have 2^18 values from 22 voxels in a row on."""
    loaded, library = [], convolution.library
    monkeypatch.setattr("crossattn3d.kernels.backends.IN_PLACE_OF_AUTO", backend)
    monkeypatch.setattr(convolution, "library", lambda: loaded.append(1) or library())
    regional = RegionalNet(fold_batch_norm(UNet3d(1, 2, (32, 64)).eval()))
    size = (16, 24, width)
    list(regional(torch.zeros(1, 1, *size), np.ones(size, dtype=bool)))
    assert bool(loaded) == compiles


def test_no_memory_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convolution, "library", lambda: SimpleNamespace(convolve=lambda *_: 1))
    weights = convolution.transformed(torch.zeros(32, 16, 3, 3, 3))
    with pytest.raises(MemoryError, match=r"cpp: expected memory for the tiles of each thread"):
        convolution.convolve(torch.zeros(1, 16, 1, 2, 3), (0, 0, 0), (1, 2, 3), weights, torch.zeros(32))
