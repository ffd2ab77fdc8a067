"""Networks under autocast: the fast attention adds no more error than the literal equations do."""

import copy

import pytest
import torch
from torch import Tensor

from crossattn3d import UCANet, UNet3d
from support.random_parameters import randomize

#: No level is two slices deep, where PyTorch's own bfloat16 gradients of convolutions are wrong on CPU.
SIZE = (12, 16, 20)


def passes(net: UNet3d, dtype: torch.dtype) -> tuple[Tensor, list[Tensor]]:
    """Logits and the gradient of every parameter, layers computed in `dtype`."""
    g = torch.Generator().manual_seed(5)
    x = torch.randn(2, 1, *SIZE, generator=g)
    target = torch.randint(3, (2, *SIZE), generator=g)
    net = copy.deepcopy(net).train()
    if dtype == torch.float64:
        logits = net.double()(x.double())
    else:
        with torch.autocast("cpu", dtype):
            logits = net(x)
        assert logits.dtype == dtype
        logits = logits.float()
    torch.nn.functional.cross_entropy(logits, target).backward()
    return logits.detach().double(), [p.grad.double() for p in net.parameters()]


def error(found: Tensor, exact: Tensor) -> float:
    return float((found - exact).square().mean().sqrt())


def errors(net: UNet3d, exact: UNet3d) -> Tensor:
    """Root mean squares in bfloat16: of the logits, and of all gradients that are not nothing, relative."""
    (logits, gradients), (expected, expected_gradients) = passes(net, torch.bfloat16), passes(exact, torch.float64)
    size = torch.tensor([error(g, torch.zeros_like(g)) for g in expected_gradients])
    each = torch.tensor([error(a, b) for a, b in zip(gradients, expected_gradients, strict=True)])
    relative = (each / size)[size > 1e-3 * size.max()]
    return torch.tensor([error(logits, expected), float(relative.square().mean().sqrt())])


@pytest.mark.parametrize("norm", ["batch", "instance"])
def test_no_more_error_than_the_literal_equations(norm: str) -> None:
    squares = {"auto": torch.zeros(2), "reference": torch.zeros(2)}
    for seed in range(4):  # of one net alone, chance decides
        nets = {name: randomize(UCANet(1, 3, (4, 6, 8), norm=norm, backend=name), seed) for name in squares}
        for name, net in nets.items():
            squares[name] += errors(net, nets["reference"]).square()
    assert (squares["auto"] <= 4 * squares["reference"]).all(), squares


@pytest.mark.parametrize("make", [UNet3d, UCANet])
def test_parameters_and_gradients_stay_float32(make: type[UNet3d]) -> None:
    net = make(1, 3, (4, 6, 8))
    with torch.autocast("cpu", torch.bfloat16):
        net(torch.randn(2, 1, *SIZE)).float().square().mean().backward()
    for parameter in net.parameters():
        assert parameter.grad is not None
        assert (parameter.dtype, parameter.grad.dtype) == (torch.float32, torch.float32)
        assert torch.isfinite(parameter.grad).all()
