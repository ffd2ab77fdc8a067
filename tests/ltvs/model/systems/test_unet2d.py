import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ltvs.model.systems.unet2d import unet2d
from support.random_weights import randomize


def literal_unet2d(weights: dict[str, Tensor], x: Tensor) -> Tensor:
    """The 2D U-Net on a batch of slices, written out: 3x3 convolution, batch norm and ReLU twice a level."""

    def block(name: str, x: Tensor) -> Tensor:
        for conv, norm in (("0", "1"), ("3", "4")):
            x = F.conv2d(x, weights[f"{name}.{conv}.weight"][:, :, 0], weights[f"{name}.{conv}.bias"], padding=1)
            mean, var, scale, shift = (
                weights[f"{name}.{norm}.{part}"][:, None, None]
                for part in ("running_mean", "running_var", "weight", "bias")
            )
            x = ((x - mean) / (var + 1e-5).sqrt() * scale + shift).relu()
        return x

    maps = [block("encoder.0", x)]
    for level in (1, 2, 3):
        maps.append(block(f"encoder.{level}", F.max_pool2d(maps[-1], 2)))
    x = maps.pop()
    for level in (2, 1, 0):
        up = f"ups.{level}.conv"
        x = F.conv_transpose2d(x, weights[f"{up}.weight"][:, :, 0], weights[f"{up}.bias"], 2, 1, 1)
        x = block(f"decoder.{level}", torch.cat([maps.pop(), x], dim=1))
    return F.conv2d(x, weights["head.weight"][:, :, 0], weights["head.bias"])


def test_it_is_as_large_as_the_paper_prints() -> None:
    count = sum(p.numel() for p in unet2d(1, 3).parameters())
    assert count == 2_142_947
    assert f"{count / 1e6:.2f}" == "2.14"


@given(st.integers(0, 2**31), st.integers(1, 3), st.integers(1, 3), st.integers(2, 4))
def test_it_is_the_2d_unet_on_slices(seed: int, d: int, h: int, w: int) -> None:
    net = randomize(unet2d(2, 3), seed).double().eval()
    x = torch.randn(2, 2, d, 8 * h, 8 * w, dtype=torch.float64)
    with torch.no_grad():
        slices = x.transpose(1, 2).flatten(0, 1)
        expected = literal_unet2d(net.state_dict(), slices).unflatten(0, (2, d)).transpose(1, 2)
        torch.testing.assert_close(net(x), expected)
