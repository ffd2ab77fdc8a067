"""TransUnet against its description: size, parts computed literally, slices that are alone."""

import math

import pytest
import torch
from torch import Tensor, nn

from ltvs.model.systems.parts.positions import GRID, LearnedPositions, resized
from ltvs.model.systems.parts.resnet_v2 import Bottleneck, ResNetV2, StandardizedConv
from ltvs.model.systems.parts.vit import Block
from ltvs.model.systems.transunet import TransUnet, UpBlock
from support.random_parameters import generator, normal, randomize

SIZE = (3, 40, 56)


@pytest.fixture(scope="module")
def net() -> TransUnet:
    torch.manual_seed(0)
    return TransUnet(1, 3).eval()


def patch(seed: int, size: tuple[int, int, int] = SIZE) -> Tensor:
    return normal((1, 1, *size), generator(seed), torch.float32)


def test_it_has_as_many_parameters_as_described(net: TransUnet) -> None:
    """The paper prints 105.48 M; the description gives 105.43 M for slices of 320x320."""
    assert sum(p.numel() for p in net.parameters()) == 105_432_883
    assert sum(p.numel() for p in net.stem.parameters()) == 11_894_848


def test_kernels_are_standardized() -> None:
    conv = randomize(StandardizedConv(3, 4, kernel_size=3, stride=2).double(), 1)
    x = normal((2, 3, 6, 10), generator(2))
    kernels = torch.empty_like(conv.weight)
    for k, kernel in enumerate(conv.weight):
        mean = kernel.sum() / kernel.numel()
        variance = ((kernel - mean) ** 2).sum() / kernel.numel()
        kernels[k] = (kernel - mean) / (variance + 1e-5).sqrt()
    padded = nn.functional.pad(x, (1, 1, 1, 1))
    expected = torch.empty(2, 4, 3, 5, dtype=torch.float64)
    for i in range(3):
        for j in range(5):
            window = padded[:, :, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3]
            expected[:, :, i, j] = torch.einsum("nchw,kchw->nk", window, kernels)
    torch.testing.assert_close(conv(x), expected)


@pytest.mark.parametrize("stride", [1, 2])
def test_a_bottleneck(stride: int) -> None:
    unit = randomize(Bottleneck(64, 32, stride).double(), 3)
    assert unit.projection is not None
    x = normal((2, 64, 6, 10), generator(4))

    def normalized(x: Tensor, norm: nn.Module, groups: int, eps: float) -> Tensor:
        parts = x.reshape(len(x), groups, -1)
        parts = (parts - parts.mean(2, True)) / (parts.var(2, correction=0, keepdim=True) + eps).sqrt()
        return parts.reshape(x.shape) * norm.weight[:, None, None] + norm.bias[:, None, None]

    y = normalized(unit.conv1(x), unit.norm1, 32, 1e-6).relu()
    y = normalized(unit.conv2(y), unit.norm2, 32, 1e-6).relu()
    y = normalized(unit.conv3(y), unit.norm3, 32, 1e-6)
    shortcut = normalized(unit.projection[0](x), unit.projection[1], 128, 1e-5)
    torch.testing.assert_close(unit(x), (y + shortcut).relu())


def test_a_bottleneck_that_changes_no_size_adds_its_input() -> None:
    assert Bottleneck(128, 32).projection is None


def test_maps_are_halved_exactly() -> None:
    x, skips = ResNetV2(3, units=(1, 1, 1))(torch.zeros(2, 3, 32, 48))
    assert [skip.shape for skip in skips] == [(2, 64, 16, 24), (2, 256, 8, 12), (2, 512, 4, 6)]
    assert x.shape == (2, 1024, 2, 3)


def test_a_block_of_the_transformer() -> None:
    """Each head takes means of values with the softmax of query times key over all tokens."""
    width, heads, each = 12, 3, 4
    block = randomize(Block(width, heads, hidden=20).double(), 5)
    x = normal((2, 7, width), generator(6))

    def layer_norm(x: Tensor, norm: nn.LayerNorm) -> Tensor:
        x = x - x.mean(-1, keepdim=True)
        return x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt() * norm.weight + norm.bias

    of, bias = block.attention.query_key_value.weight, block.attention.query_key_value.bias
    taken = torch.empty_like(x)
    for n, tokens in enumerate(layer_norm(x, block.norm1)):
        q, k, v = (tokens @ of[i * width : (i + 1) * width].T + bias[i * width : (i + 1) * width] for i in range(3))
        for head in range(heads):
            own = slice(head * each, (head + 1) * each)
            for t in range(7):
                scores = (k[:, own] @ q[t, own] / math.sqrt(each)).exp()
                taken[n, t, own] = scores @ v[:, own] / scores.sum()
    y = x + taken @ block.attention.out.weight.T + block.attention.out.bias
    first, _, second = block.mlp
    hidden = layer_norm(y, block.norm2) @ first.weight.T + first.bias
    hidden = hidden * (1 + torch.erf(hidden / math.sqrt(2))) / 2
    torch.testing.assert_close(block(x), y + hidden @ second.weight.T + second.bias)


def test_positions_are_taken_as_they_are_at_the_grid_they_were_learned_at() -> None:
    positions = LearnedPositions(3)
    assert torch.equal(positions(torch.zeros(1, 3, *GRID)), positions.map)


def test_positions_between_others_are_linear() -> None:
    rows, columns = torch.meshgrid(torch.arange(20.0), torch.arange(20.0), indexing="ij")
    h, w = 39, 58  # 38 and 57 steps for 19: of a half and a third
    expected = (torch.arange(h) / 2)[:, None] + 100 * (torch.arange(w) / 3)[None]
    # In float32, of numbers up to 2000.
    torch.testing.assert_close(
        resized((rows + 100 * columns)[None, None], (h, w))[0, 0], expected, rtol=1e-6, atol=1e-4
    )


def test_the_decoder_enlarges_linearly_between_corners_and_adds_the_skip() -> None:
    up = UpBlock(2, 3, 4).double()
    seen = []
    up.convs.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    x, skip = normal((1, 2, 3, 5), generator(7)), normal((1, 3, 6, 10), generator(8))
    up(x, skip)
    enlarged, beside = seen[0][:, :2], seen[0][:, 2:]
    assert torch.equal(beside, skip)
    torch.testing.assert_close(enlarged[..., ::5, ::9], x[..., ::2, ::4])
    torch.testing.assert_close(enlarged[..., 0, 1], x[..., 0, 0] + (x[..., 0, 1] - x[..., 0, 0]) * 4 / 9)


def test_a_single_channel_is_repeated_to_three(net: TransUnet) -> None:
    of_three = TransUnet(3, 3).eval()
    of_three.load_state_dict(net.state_dict())
    x = patch(9, (1, 32, 32))
    with torch.inference_mode():
        torch.testing.assert_close(of_three(x.repeat(1, 3, 1, 1, 1)), net(x), rtol=0, atol=0)
