"""Networks under autocast: the fast attention adds no more error than the literal equations do."""

import copy

import pytest
import torch
from torch import Tensor

from crossattn3d import UCANet, UNet3d
from randomised import randomise

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


@pytest.mark.parametrize("norm", ["batch", "instance"])
def test_no_more_error_than_the_literal_equations(norm: str) -> None:
    nets = {
        backend: randomise(UCANet(1, 3, (4, 6, 8), norm=norm, backend=backend), 2) for backend in ("auto", "reference")
    }
    exact, exact_gradients = passes(nets["reference"], torch.float64)
    found = {backend: passes(net, torch.bfloat16) for backend, net in nets.items()}
    assert error(found["auto"][0], exact) <= 2 * error(found["reference"][0], exact)
    ours, theirs = (
        torch.tensor([error(a, b) for a, b in zip(found[backend][1], exact_gradients, strict=True)])
        for backend in ("auto", "reference")
    )
    # Parameter by parameter chance decides, so all together, each by how large its gradient is.
    size = torch.tensor([float(g.square().mean().sqrt()) for g in exact_gradients])
    counts = size > 1e-3 * size.max()
    assert (ours / size)[counts].square().mean().sqrt() <= 2 * (theirs / size)[counts].square().mean().sqrt()


@pytest.mark.parametrize("make", [UNet3d, UCANet])
def test_parameters_and_gradients_stay_float32(make: type[UNet3d]) -> None:
    net = make(1, 3, (4, 6, 8))
    with torch.autocast("cpu", torch.bfloat16):
        net(torch.randn(2, 1, *SIZE)).float().square().mean().backward()
    for parameter in net.parameters():
        assert parameter.grad is not None
        assert (parameter.dtype, parameter.grad.dtype) == (torch.float32, torch.float32)
        assert torch.isfinite(parameter.grad).all()
