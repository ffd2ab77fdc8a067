"""UCTransNet against its description: size, parts computed literally, slices that are alone."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from ltvs.model.systems.parts.channel_transformer import (
    Block,
    ChannelAttention,
    ChannelTransformer,
    ToMap,
    score_variance,
)
from ltvs.model.systems.uctransnet import ChannelGate, UCTransNet, UpBlock
from support.random_parameters import generator, normal, randomize

SIZE = (3, 40, 56)
WIDTHS = (2, 3, 4)
TOKENS = 7


@pytest.fixture(scope="module")
def net() -> UCTransNet:
    torch.manual_seed(0)
    return UCTransNet(1, 3).eval()


def patch(seed: int, size: tuple[int, int, int] = SIZE) -> Tensor:
    return normal((1, 1, *size), generator(seed), torch.float32)


def scales_of(seed: int, tokens: int = TOKENS) -> list[Tensor]:
    g = generator(seed)
    return [normal((2, tokens, width), g) for width in WIDTHS]


def attended(attention: ChannelAttention, scales: list[Tensor], joined: Tensor) -> list[Tensor]:
    """Compute the attention one sample, scale, head and channel at a time."""
    total = joined.shape[2]
    results: list[list[Tensor]] = [[] for _ in scales]
    for n in range(len(joined)):
        for i, x in enumerate(scales):
            width = x.shape[2]
            mean = torch.zeros(joined.shape[1], width, dtype=torch.float64)
            for head in range(attention.heads):
                of_all = slice(head * total, (head + 1) * total)
                query = x[n] @ attention.queries[i].weight[head * width : (head + 1) * width].T
                key, value = joined[n] @ attention.key.weight[of_all].T, joined[n] @ attention.value.weight[of_all].T
                scores = query.T @ key / math.sqrt(total)
                scores = (scores - scores.mean()) / (scores.var(correction=0) + 1e-5).sqrt()
                for channel in range(width):
                    weights = scores[channel].exp() / scores[channel].exp().sum()
                    mean = mean + F.one_hot(torch.tensor(channel), width) * (value @ weights)[:, None] / attention.heads
            results[i].append(mean @ attention.outs[i].weight.T)
    return [torch.stack(samples) for samples in results]


def layer_norm(x: Tensor, norm: nn.Module) -> Tensor:
    x = x - x.mean(-1, keepdim=True)
    return x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt() * norm.weight + norm.bias


def test_it_has_as_many_parameters_as_described(net: UCTransNet) -> None:
    """The paper prints 65.60 M; the description gives 66.63 M for slices of 320x320."""
    assert sum(p.numel() for p in net.parameters()) == 66_625_475


@pytest.mark.parametrize("tokens", [2, 5, TOKENS])
@pytest.mark.parametrize("heads", [1, 3])
def test_channels_attend_to_the_channels_of_all_scales(heads: int, tokens: int) -> None:
    """Results and all gradients; with few tokens the variance of the scores comes from products of tokens."""
    attention = randomize(ChannelAttention(WIDTHS, heads).double(), 1)
    scales, joined = scales_of(2, tokens), normal((2, tokens, sum(WIDTHS)), generator(3))
    inputs = [*scales, joined, *attention.parameters()]
    for x in inputs:
        x.requires_grad_()
    found, expected = attention(scales, joined), attended(attention, scales, joined)
    torch.testing.assert_close(found, expected)
    weights = [normal(tuple(y.shape), generator(4)) for y in found]
    of_both = [
        torch.autograd.grad([(w * y).sum() for w, y in zip(weights, results, strict=True)], inputs)
        for results in (found, expected)
    ]
    torch.testing.assert_close(*of_both)


@pytest.mark.parametrize("tokens", [2, TOKENS])
def test_the_variance_of_scores_that_all_lie_far_from_0(tokens: int) -> None:
    """Their mean is thousands of times their deviation: a difference of mean squares would have no digit.

    Rounding the inputs to float32 moves each by up to 6e-5 of its deviation.
    """
    queries, keys = (1e3 + normal((2, 3, n, tokens), generator(n)) for n in (4, 9))
    exact = (queries @ keys.mT).var(dim=(-2, -1), correction=0)
    torch.testing.assert_close(score_variance(queries.float(), keys.float()).double(), exact, rtol=1e-3, atol=0)


def test_a_block_normalizes_first_and_adds() -> None:
    block = randomize(Block(WIDTHS, heads=2).double(), 4)
    scales = scales_of(5)
    joined = layer_norm(torch.cat(scales, dim=2), block.joined_norm)
    taken = attended(
        block.attention, [layer_norm(x, norm) for x, norm in zip(scales, block.norms, strict=True)], joined
    )
    expected = []
    for x, y, (norm, first, _, second) in zip(scales, taken, block.mlps, strict=True):
        added = x + y
        hidden = layer_norm(added, norm) @ first.weight.T + first.bias
        hidden = hidden * (1 + torch.erf(hidden / math.sqrt(2))) / 2
        expected.append(added + hidden @ second.weight.T + second.bias)
    torch.testing.assert_close(block(scales), expected)


class LargestCount(TorchDispatchMode):
    """How often a length occurs among the axes of any tensor that is made, at most."""

    def __init__(self, length: int) -> None:
        super().__init__()
        self.length = length
        self.most = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor):
            self.most = max(self.most, result.shape.count(self.length))
        return result


def test_no_matrix_is_of_tokens_by_tokens() -> None:
    attention, scales = ChannelAttention(WIDTHS, heads=2), [x.float() for x in scales_of(6)]
    with LargestCount(TOKENS) as counted:
        sum(x.sum() for x in attention(scales, torch.cat(scales, dim=2))).backward()
    assert counted.most == 1


@pytest.mark.parametrize("training", [False, True])
def test_a_token_fills_its_patch(training: bool) -> None:
    """As in the published order: enlarge, convolve, normalize, ReLU."""
    to_map = randomize(ToMap(3, patch=4).double(), 7).train(training)
    x = normal((2, 3, 2, 5), generator(8))
    enlarged = x.repeat_interleave(4, dim=2).repeat_interleave(4, dim=3)
    y = torch.einsum("nchw,kc->nkhw", enlarged, to_map.conv.weight[:, :, 0, 0]) + to_map.conv.bias[:, None, None]
    norm = to_map.norm
    mean, variance = norm.running_mean, norm.running_var
    if training:
        mean, variance = y.mean((0, 2, 3)), y.var((0, 2, 3), correction=0)
    scale = norm.weight / (variance + 1e-5).sqrt()
    expected = ((y - mean[:, None, None]) * scale[:, None, None] + norm.bias[:, None, None]).relu()
    torch.testing.assert_close(to_map(x), expected)


def test_skips_keep_what_they_were() -> None:
    """With nothing taken, each skip is as it came."""
    transformer = ChannelTransformer((2, 3), (4, 2), heads=2, blocks=1)
    for to_map in transformer.maps:
        nn.init.zeros_(to_map.norm.weight)
    skips = [normal((1, 2, 8, 12), generator(9), torch.float32), normal((1, 3, 4, 6), generator(10), torch.float32)]
    torch.testing.assert_close(transformer(skips), skips, rtol=0, atol=0)


def test_the_decoder_weights_the_channels_of_the_skip() -> None:
    up = randomize(UpBlock(3, 2).double(), 11)
    x, skip = normal((2, 3, 3, 5), generator(12)), normal((2, 3, 6, 10), generator(13))
    enlarged = x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    gate: ChannelGate = up.gate
    expected = torch.empty_like(skip)
    for n in range(2):
        of_skip = gate.of_skip.weight @ skip[n].mean((1, 2)) + gate.of_skip.bias
        of_decoder = gate.of_decoder.weight @ enlarged[n].mean((1, 2)) + gate.of_decoder.bias
        for c in range(3):
            expected[n, c] = (skip[n, c] / (1 + torch.exp(-(of_skip[c] + of_decoder[c]) / 2))).clamp(min=0)
    seen = []
    up.convs.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    up(x, skip)
    torch.testing.assert_close(seen[0], torch.cat([expected, enlarged], dim=1))
