"""Activation checkpointing changes memory and time, and nothing else."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import crossattn3d
from benchmarks.time_and_memory import peak_extra_memory
from crossattn3d import UCANet, UNet3d, functional
from crossattn3d._recompute import checkpoint
from support.random_parameters import randomize

SIZE = (8, 10, 12)


def trained(make, use_checkpoint: bool) -> tuple[nn.Module, list[torch.Tensor]]:
    """A net after one forward and backward pass, and its gradients."""
    net = randomize(make(1, 2, (2, 4, 6), use_checkpoint=use_checkpoint), 1).double()
    x = torch.randn(2, 1, *SIZE, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    net(x).square().sum().backward()
    return net, [p.grad for p in net.parameters()]


@pytest.mark.parametrize("make", [UNet3d, UCANet])
def test_gradients_and_batch_statistics_are_the_same(make):
    (plain, expected), (net, found) = trained(make, False), trained(make, True)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)
    for (name, ours), theirs in zip(net.state_dict().items(), plain.state_dict().values(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12, msg=name)
    assert {m.momentum for m in net.modules() if isinstance(m, nn.BatchNorm3d)} == {0.1}


def test_statistics_in_evaluation_are_the_running_ones():
    norm = randomize(nn.BatchNorm3d(3), 1).eval()
    x = torch.randn(2, 3, 4, 5, 6, requires_grad=True)
    (found,) = torch.autograd.grad(checkpoint(norm, [norm], x).sum(), x)
    (expected,) = torch.autograd.grad(norm(x).sum(), x)
    torch.testing.assert_close(found, expected)


def test_less_is_kept():
    def step(net: nn.Module) -> None:
        net(torch.ones(2, 1, 16, 24, 32)).sum().backward()

    nets = [UCANet(1, 2, (8, 8, 8), use_checkpoint=use) for use in (False, True)]
    plain, checkpointed = (peak_extra_memory(lambda net=net: step(net), torch.device("cpu")) for net in nets)
    # While the finest decoder block is computed again, the inside of the finest encoder block is not there: what two
    # convolutions and a ReLU gave, in 8 channels; less its input and what the levels below keep.
    one_map = 2 * 8 * 16 * 24 * 32 * 4
    assert plain - checkpointed > 2.5 * one_map


def test_nothing_is_computed_twice_without_gradients():
    net = UNet3d(1, 2, (2, 2), use_checkpoint=True)
    calls = []
    net.encoder[0].register_forward_hook(lambda *_: calls.append(1))
    with torch.no_grad():
        net(torch.ones(1, 1, 4, 4, 6))
    assert len(calls) == 1


@pytest.mark.parametrize("make", [UNet3d, UCANet])
def test_a_graph_can_be_used_twice(make):
    net = randomize(make(1, 2, (2, 4), use_checkpoint=True), 1).double()
    loss = net(torch.randn(1, 1, *SIZE, dtype=torch.float64)).square().sum()
    first, second = (
        torch.autograd.grad(loss, list(net.parameters()), retain_graph=True, create_graph=create)
        for create in (False, True)
    )
    for a, b in zip(first, second, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)
    penalty = torch.autograd.grad(sum(g.square().sum() for g in second), list(net.parameters()), allow_unused=True)
    assert all(torch.isfinite(g).all() for g in penalty if g is not None)


COMPILED = """
import torch
from crossattn3d import UNet3d

nets = []
for compiled in (False, True):
    torch.manual_seed(0)
    nets.append(UNet3d(1, 2, (2, 4), use_checkpoint=True).double())
    runs = torch.compile(nets[-1], backend="eager") if compiled else nets[-1]
    x = torch.linspace(-1, 1, 8 * 10 * 12, dtype=torch.float64).reshape(1, 1, 8, 10, 12)
    runs(x).square().sum().backward()
    assert nets[-1].encoder[0][1].num_batches_tracked == 1
for a, b in zip(*(net.parameters() for net in nets), strict=True):
    torch.testing.assert_close(a.grad, b.grad, rtol=1e-10, atol=1e-10)
print("same")
"""


def test_a_compiled_net_has_the_same_gradients():
    """In a process of its own: run-time shape checks cannot be compiled."""
    environment = os.environ | {"PYTHONPATH": str(Path(crossattn3d.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", COMPILED], capture_output=True, text=True, env=environment, check=False
    )
    assert done.stdout == "same\n", done.stderr[-2000:]


def attended(recompute: bool, backend: str = "auto", **options) -> UCANet:
    net = randomize(UCANet(1, 2, (2, 4, 6), backend=backend, **options), 1)
    for skip in net.skips:
        skip.recompute = recompute
    return net


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_what_the_attention_gives_is_computed_again_and_is_the_same(dtype):
    """Weights in float64, or bfloat16 under autocast; twice through the same graph, and through the gradient."""
    found = []
    for recompute in (True, False):
        net = attended(recompute)
        half = dtype == torch.bfloat16
        net = net if half else net.double()
        x = torch.randn(2, 1, *SIZE, generator=torch.Generator().manual_seed(2)).to(net.head.weight.dtype)
        x.requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            loss = net(x).double().square().sum()
        loss.backward(retain_graph=True)
        (slope,) = torch.autograd.grad(loss, x, create_graph=not half)
        if not half:
            slope.square().sum().backward()
        found.append([slope.detach(), x.grad, *(p.grad for p in net.parameters()), *net.buffers()])
    for ours, theirs in zip(*found, strict=True):
        assert torch.equal(ours, theirs)


def test_the_skips_of_ucanet_are_not_kept():
    """At the finest level a map of 8 channels; less what is needed to compute the others."""
    kept, again = (peak_of_step(attended_wide(recompute)) for recompute in (False, True))
    one_map = 8 * 16 * 24 * 32 * 4
    assert kept - again > 0.9 * one_map


def attended_wide(recompute: bool) -> UCANet:
    net = UCANet(1, 2, (8, 8, 8))
    for skip in net.skips:
        assert skip.recompute
        skip.recompute = recompute
    return net


def peak_of_step(net: nn.Module) -> int:
    return peak_extra_memory(lambda: net(torch.ones(1, 1, 16, 24, 32)).sum().backward(), torch.device("cpu"))


@pytest.mark.parametrize(
    ("backend", "use_checkpoint", "calls"), [("auto", False, 2), ("reference", False, 1), ("auto", True, 2)]
)
def test_how_often_the_attention_is_computed(backend, use_checkpoint, calls, monkeypatch):
    net, made = UCANet(1, 2, (2, 4), backend=backend, use_checkpoint=use_checkpoint), []
    attend = functional.attend
    monkeypatch.setattr(functional, "attend", lambda *args: made.append(1) or attend(*args))
    net(torch.ones(2, 1, *SIZE)).sum().backward()
    assert len(made) == calls
    made.clear()
    with torch.no_grad():
        net(torch.ones(2, 1, *SIZE))
    assert len(made) == 1
