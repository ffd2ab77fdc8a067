from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ltvs.model.systems.resunet import ResidualUnit, ResUnet
from support.random_weights import randomize

SEEDS = st.integers(0, 2**31)
SIZES = st.permutations([2, 4, 6]) | st.permutations([3, 5, 7])
Weights = dict[str, Tensor]


def norm(weights: Weights, name: str, x: Tensor) -> Tensor:
    """Batch norm in eval mode, by its formula."""
    parts = ("running_mean", "running_var", "weight", "bias")
    mean, var, scale, shift = (weights[f"{name}.{part}"][:, None, None, None] for part in parts)
    return (x - mean) / (var + 1e-5).sqrt() * scale + shift


def literal_unit(weights: Weights, name: str, x: Tensor, stride: int | tuple[int, ...]) -> Tensor:
    """BN, ReLU, conv of stride s, BN, ReLU, conv, plus conv of stride s and BN."""

    def conv(layer: str, x: Tensor, stride: int | tuple[int, ...] = 1) -> Tensor:
        weight = weights[f"{name}{layer}.weight"]
        return F.conv3d(x, weight, weights[f"{name}{layer}.bias"], stride, [n // 2 for n in weight.shape[2:]])

    y = conv("residual.2", norm(weights, f"{name}residual.0", x).relu(), stride)
    y = conv("residual.5", norm(weights, f"{name}residual.3", y).relu())
    return y + norm(weights, f"{name}shortcut.1", conv("shortcut.0", x, stride))


def literal_resunet(weights: Weights, x: Tensor, conv: Callable[..., Tensor], stride: tuple[int, ...]) -> Tensor:
    """The whole net: its first unit has no norm in front, and its shortcut none at all."""
    y = norm(weights, "residual.1", conv(x, "residual.0")).relu()
    x = conv(y, "residual.3") + conv(x, "shortcut")
    maps = []
    for level in range(3):
        maps.append(x)
        x = literal_unit(weights, f"encoder.{level}.", x, stride)
    for level in (2, 1, 0):
        up = f"ups.{level}"
        x = F.conv_transpose3d(x, weights[f"{up}.weight"], weights[f"{up}.bias"], stride)
        x = literal_unit(weights, f"decoder.{level}.", torch.cat([maps.pop(), x], dim=1), 1)
    return F.conv3d(x, weights["head.weight"], weights["head.bias"])


@pytest.mark.parametrize(("flat", "count", "printed"), [(False, 9_433_827, "9.43"), (True, 3_264_099, "3.26")])
def test_it_is_as_large_as_the_paper_prints(flat: bool, count: int, printed: str) -> None:
    assert sum(p.numel() for p in ResUnet(1, 3, flat=flat).parameters()) == count
    assert f"{count / 1e6:.2f}" == printed


@given(SEEDS, SIZES, st.sampled_from([1, 2, (1, 2, 2)]), st.sampled_from([(3, 3, 3), (1, 3, 3), (1, 3, 5)]))
def test_a_unit_is_the_sum_of_both_branches(
    seed: int, size: list[int], stride: int | tuple[int, int, int], kernel_size: tuple[int, int, int]
) -> None:
    unit = randomize(ResidualUnit(3, 4, kernel_size, stride), seed).double().eval()
    x = torch.randn(2, 3, *size, dtype=torch.float64)
    torch.testing.assert_close(unit(x), literal_unit(unit.state_dict(), "", x, stride))


@pytest.mark.parametrize("flat", [False, True])
def test_the_whole_net(flat: bool) -> None:
    net = randomize(ResUnet(2, 3, flat=flat), 7).double().eval()
    weights = net.state_dict()
    stride = (1, 2, 2) if flat else (2, 2, 2)

    def conv(x: Tensor, name: str) -> Tensor:
        return F.conv3d(x, weights[f"{name}.weight"], weights[f"{name}.bias"], padding=(0 if flat else 1, 1, 1))

    x = torch.randn(2, 2, 3 if flat else 8, 16, 24, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(net(x), literal_resunet(weights, x, conv, stride))


@pytest.mark.parametrize("flat", [False, True])
def test_every_level_is_half_as_large_as_the_one_above(flat: bool) -> None:
    with torch.device("meta"):
        net, x = ResUnet(1, 3, flat=flat), torch.zeros(1, 1, 16, 24, 40)
    sizes = []
    for module in [*net.encoder, *net.ups, *net.decoder]:
        module.register_forward_hook(lambda module, inputs, result: sizes.append(tuple(result.shape[1:])))
    net(x)
    d = (16, 16, 16, 16) if flat else (16, 8, 4, 2)
    down = [(64, d[1], 12, 20), (128, d[2], 6, 10), (256, d[3], 3, 5)]
    up = [(256, d[2], 6, 10), (128, d[2], 6, 10), (128, d[1], 12, 20), (64, d[1], 12, 20), (64, d[0], 24, 40)]
    assert sizes == [*down, *up, (32, d[0], 24, 40)]


def test_a_flat_net_pads_slices_alike_whatever_their_number() -> None:
    """Slices of up to 8 x 8 pixels are padded to more than the others, lest one pixel is left at the deepest level."""
    net = randomize(ResUnet(1, 2, flat=True), 3).double().eval()
    x = torch.randn(1, 1, 3, 5, 6, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(net(x)[:, :, 1:2], net(x[:, :, 1:2]))
