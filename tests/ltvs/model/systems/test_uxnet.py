import itertools
from copy import deepcopy

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ltvs.model.systems.uxnet import ChannelNorm, DepthwiseConv, UXBlock, UXEncoder, UXNet
from support.random_weights import randomize

SEEDS = st.integers(0, 2**31)
SIZES = st.permutations([2, 3, 5]) | st.permutations([1, 4, 9])


def literal_norm(weights: dict[str, Tensor], x: Tensor) -> Tensor:
    mean = x.mean(dim=1, keepdim=True)
    var = ((x - mean) ** 2).mean(dim=1, keepdim=True)
    scale, shift = (weights[part][:, None, None, None] for part in ("weight", "bias"))
    return (x - mean) / (var + 1e-6).sqrt() * scale + shift


def literal_depthwise(weight: Tensor, bias: Tensor, x: Tensor) -> Tensor:
    """Each channel's own kernel, one of its voxels after the other."""
    k = weight.shape[-1]
    d, h, w = x.shape[2:]
    padded = F.pad(x, [k // 2] * 6)
    y = bias[:, None, None, None].expand_as(x)
    for i, j, l in itertools.product(range(k), repeat=3):  # noqa: E741 - beside i and j
        y = y + weight[:, 0, i, j, l, None, None, None] * padded[:, :, i : i + d, j : j + h, l : l + w]
    return y


def literal_pointwise(weight: Tensor, bias: Tensor, x: Tensor, groups: int) -> Tensor:
    """A matrix for each group of channels."""
    matrices = weight[..., 0, 0, 0].unflatten(0, (groups, -1))
    y = torch.einsum("goi,bgidhw->bgodhw", matrices, x.unflatten(1, (groups, -1))).flatten(1, 2)
    return y + bias[:, None, None, None]


@pytest.mark.parametrize(
    ("options", "count"), [({}, 53_005_875), ({"kernel_size": 13, "grouped": False}, 58_797_555)], ids=["now", "then"]
)
def test_the_paper_prints_a_size_between_both_versions(options: dict[str, int], count: int) -> None:
    with torch.device("meta"):
        net = UXNet(1, 3, **options)
    assert sum(p.numel() for p in net.parameters()) == count
    assert 53_005_875 < 57.43e6 < 58_797_555


@given(SEEDS, SIZES, st.sampled_from([1, 3, 7]), st.booleans())
def test_a_block_by_its_formula(seed: int, size: list[int], kernel_size: int, grouped: bool) -> None:
    block = randomize(UXBlock(3, kernel_size, grouped=grouped), seed).double()
    x = torch.randn(2, 3, *size, dtype=torch.float64)
    groups = 3 if grouped else 1
    y = literal_depthwise(block.depthwise.weight, block.depthwise.bias, x)
    y = literal_pointwise(block.expand.weight, block.expand.bias, literal_norm(block.norm.state_dict(), y), groups)
    y = y * (1 + torch.erf(y / 2**0.5)) / 2
    y = literal_pointwise(block.reduce.weight, block.reduce.bias, y, groups)
    torch.testing.assert_close(block(x), x + block.scale[:, None, None, None] * y)


@pytest.mark.parametrize("size", [(4, 16, 16), (2, 8, 8), (1, 4, 6)], ids=["4x16x16", "2x8x8", "1x4x6"])
def test_gradients_of_long_kernels_under_autocast(size: tuple[int, ...]) -> None:
    """PyTorch's own in bfloat16 are wrong by as much as they are large, and can end the process.

    Those in float32 differ from the exact ones by rounding, in sums of a few hundred products of the order of 1.
    """
    layer = randomize(DepthwiseConv(96, 7), 5).to(memory_format=torch.channels_last_3d)
    x = torch.randn(2, 96, *size).to(memory_format=torch.channels_last_3d)
    weights = torch.randn_like(x)
    with torch.autocast("cpu", torch.bfloat16):
        result = layer(x.bfloat16())
    (result * weights).sum().backward()
    exact = deepcopy(layer).double()
    exact.zero_grad()
    literal = literal_depthwise(exact.weight, exact.bias, x.bfloat16().double())
    (literal * weights.double()).sum().backward()
    torch.testing.assert_close(layer.weight.grad.double(), exact.weight.grad, rtol=1e-4, atol=1e-4)


def test_a_new_block_is_almost_the_identity() -> None:
    block = UXBlock(4, 7, grouped=True)
    assert torch.equal(block.scale, torch.full((4,), 1e-6))
    x = torch.randn(1, 4, 3, 4, 5)
    residual = block(x) - x
    # The branch is of the order of 1.
    assert 0 < residual.abs().max() < 1e-5


@given(SEEDS, SIZES)
def test_the_norm_is_over_the_channels_of_each_voxel(seed: int, size: list[int]) -> None:
    layer = randomize(ChannelNorm(5), seed).double()
    x = torch.randn(2, 5, *size, dtype=torch.float64)
    torch.testing.assert_close(layer(x), literal_norm(layer.state_dict(), x))


def test_maps_of_the_encoder() -> None:
    """Each stage at half of the size of the one before, the first at half of the input's; each result is normalized."""
    encoder = UXEncoder(1, 3, grouped=True)
    maps = encoder(torch.rand(1, 1, 16, 32, 48))
    assert [tuple(m.shape) for m in maps] == [
        (1, 48, 8, 16, 24),
        (1, 96, 4, 8, 12),
        (1, 192, 2, 4, 6),
        (1, 384, 1, 2, 3),
    ]
    for m in maps[1:]:  # the first lies close to the norm's eps
        torch.testing.assert_close(m.mean(dim=1), torch.zeros_like(m[:, 0]), rtol=0, atol=1e-5)
        torch.testing.assert_close(m.std(dim=1, correction=0), torch.ones_like(m[:, 0]), rtol=0, atol=1e-2)


def test_the_decoder_has_the_size_of_the_map_that_it_joins() -> None:
    with torch.device("meta"):
        net, x = UXNet(1, 3), torch.zeros(1, 1, 16, 32, 48)
    sizes = []
    for module in [*net.blocks, *net.decoder]:
        module.register_forward_hook(lambda module, inputs, result: sizes.append(tuple(result.shape[1:])))
    net(x)
    maps = [(48, 16, 32, 48), (96, 8, 16, 24), (192, 4, 8, 12), (384, 2, 4, 6)]
    assert sizes == [*maps, (768, 1, 2, 3), *reversed(maps)]


def test_the_finest_map_is_made_from_the_input_itself() -> None:
    with torch.device("meta"):
        net, x = UXNet(2, 3), torch.zeros(1, 2, 16, 16, 32)
    seen = []
    net.blocks[0].register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].shape))
    net(x)
    assert seen == [x.shape]
