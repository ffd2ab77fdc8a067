"""Maps of one slice in bfloat16 on CPUs, for which oneDNN reads memory that nobody has written."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from crossattn3d import UCANet, UNet3d
from crossattn3d._layers.convolutions import Conv3d

FORMATS = [torch.contiguous_format, torch.channels_last_3d]
#: Odd widths of a net.
ODD = (3, 5, 7, 9)


def poison_memory() -> None:
    """Leave numbers that are none in memory that is free."""
    rng = np.random.default_rng(0)
    _ = [torch.full((int(n),), torch.nan) for n in rng.integers(1, 40_000, 40)]


def passes(layer: nn.Module, x: Tensor, grad: Tensor, *, autocast: bool = False) -> list[Tensor]:
    """Return the result and the gradients of input and parameters."""
    x = x.detach().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        out = layer(x)
    gradients = torch.autograd.grad(out, [x, *layer.parameters()], grad.to(out.dtype))
    return [found.double() for found in (out.detach(), *gradients)]


def in_float64(layer: nn.Conv3d, *, absolute: bool = False) -> nn.Conv3d:
    copied = nn.Conv3d(layer.in_channels, layer.out_channels, layer.kernel_size, padding="same").double()
    weights = {name: w.double().abs() if absolute else w.double() for name, w in layer.state_dict().items()}
    copied.load_state_dict(weights)
    return copied


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("autocast", [True, False])
@pytest.mark.parametrize("kernel", [(3, 3, 3), (5, 3, 1)])
@pytest.mark.parametrize("c", [1, 2, 3, 15, 16, 17])
def test_result_and_gradients_are_those_in_float64(form, autocast: bool, kernel: tuple, c: int) -> None:
    torch.manual_seed(c)
    layer = Conv3d(c, 4, kernel).to(memory_format=form)
    x, grad = torch.randn(2, c, 1, 6, 7).to(memory_format=form), torch.randn(2, 4, 1, 6, 7)
    exact = passes(in_float64(layer), x.double(), grad.double())
    sizes = passes(in_float64(layer, absolute=True), x.double().abs(), grad.double().abs())
    if not autocast:
        layer, x = layer.bfloat16(), x.bfloat16()
    for _ in range(5):
        poison_memory()
        for found, expected, size in zip(passes(layer, x, grad, autocast=autocast), exact, sizes, strict=True):
            # Both factors and the result are rounded to 8 bits, each by up to 2**-9 of itself; sums in float32.
            assert ((found - expected).abs() <= 2**-7 * size).all()


def test_a_layer_with_a_parametrized_weight() -> None:
    torch.manual_seed(0)
    layer = nn.utils.parametrizations.weight_norm(Conv3d(3, 4, (3, 3, 3)))
    x = torch.randn(1, 3, 1, 6, 7)
    with torch.no_grad():
        expected, products = layer(x), layer.weight.abs().sum((1, 2, 3, 4)).max() * x.abs().max()
        for _ in range(5):
            poison_memory()
            with torch.autocast("cpu", torch.bfloat16):
                # Rounded as above; the bias is below 1.
                torch.testing.assert_close(layer(x).float(), expected, rtol=0, atol=2**-7 * (float(products) + 1))


@pytest.mark.parametrize("make", [UNet3d, UCANet])
@pytest.mark.parametrize(("depth", "strides"), [(8, None), (1, [(1, 2, 2)] * 3)])
def test_a_net_with_a_level_of_one_slice(make: type[UNet3d], depth: int, strides: list | None) -> None:
    torch.manual_seed(0)
    net = make(1, 3, ODD, strides=strides).to(memory_format=torch.channels_last_3d).eval()
    x = torch.randn(1, 1, depth, 16, 24)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        first = net(x)
        assert first.isfinite().all()
        for _ in range(5):
            poison_memory()
            assert torch.equal(net(x), first)


def test_a_trace_holds_for_any_depth() -> None:
    layer = Conv3d(3, 4, (3, 3, 3)).eval()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
        traced = torch.jit.trace(layer, torch.randn(1, 3, 1, 6, 7), check_trace=False)
        x = torch.randn(1, 3, 4, 6, 7)
        torch.testing.assert_close(traced(x), layer(x))


@pytest.mark.slow
def test_a_compiled_layer(unchecked: None) -> None:
    torch.manual_seed(0)
    layer = Conv3d(3, 4, (3, 3, 3)).eval()
    compiled = torch.compile(layer, fullgraph=True)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        for depth in (4, 1, 5):
            x = torch.randn(1, 3, depth, 6, 7)
            poison_memory()
            # Both sum the same products of bfloat16 numbers in float32, and round once.
            torch.testing.assert_close(compiled(x), layer(x), rtol=2**-7, atol=2**-7)
