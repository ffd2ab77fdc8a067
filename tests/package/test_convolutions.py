"""The nets' convolutions against PyTorch's: results, all gradients and modes, with the faster ways and without."""

import random
from functools import partial

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from crossattn3d import UCANet
from crossattn3d._layers import convolutions
from crossattn3d._layers.convolutions import Conv3d, ConvTranspose3d
from crossattn3d._layers.weight_gradient import correlate

FORMATS = [torch.contiguous_format, torch.channels_last_3d]


@pytest.fixture(autouse=True)
def _faster_ways(monkeypatch):
    """Take the faster ways on every CPU and for maps of every size."""
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    monkeypatch.setattr(convolutions, "FEWEST_PRODUCTS", 0)


def test_weight_gradients_are_those_of_pytorch_in_float64():
    rng = random.Random(0)
    for _ in range(150):
        kernel = [rng.choice([1, 3, 5]) for _ in range(3)]
        transposed = rng.random() < 0.5
        stride = [rng.randint(1, min(k, 4)) if transposed else 1 for k in kernel]
        excess = [k - s for k, s in zip(kernel, stride, strict=True)]
        padding, rest = [(n + 1) // 2 for n in excess], [n % 2 for n in excess]
        b, c, o, *size = (rng.randint(1, 6) for _ in range(6))
        large = [n * s for n, s in zip(size, stride, strict=True)]
        form = rng.choice(FORMATS)
        fine = torch.randn(b, c, *large, dtype=torch.float64).to(memory_format=form)
        coarse = torch.randn(b, o, *size, dtype=torch.float64).to(memory_format=form)
        grad, x = (fine, coarse) if transposed else (coarse, fine)
        weight = torch.zeros(o, c, *kernel, dtype=torch.float64)
        geometry = stride, padding, [1] * 3, transposed, rest if transposed else [0] * 3, 1
        mask = [False, True, False]
        expected = torch.ops.aten.convolution_backward(grad, x, weight, None, *geometry, mask)[1]
        torch.testing.assert_close(correlate(fine, coarse, kernel, stride, padding), expected)


def layer_and_float64(transposed, kernel, form, c=3, o=4):
    torch.manual_seed(0)
    stride = tuple(min(2, k) for k in kernel)
    up = {"padding": tuple((k - s + 1) // 2 for k, s in zip(kernel, stride, strict=True))}
    layer = ConvTranspose3d(c, o, kernel, stride, **up) if transposed else Conv3d(c, o, kernel)
    exact = nn.ConvTranspose3d(c, o, kernel, stride, **up) if transposed else nn.Conv3d(c, o, kernel, padding="same")
    exact.load_state_dict(layer.state_dict())
    return layer.to(memory_format=form), exact.double()


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize(("c", "kernel"), [(3, (3, 3, 3)), (1, (3, 3, 3)), (3, (1, 3, 5)), (2, (1, 1, 1))])
def test_result_and_gradients_are_those_in_float64(form, transposed, c, kernel):
    layer, exact = layer_and_float64(transposed, kernel, form, c)
    x = torch.randn(2, c, 3, 4, 5).to(memory_format=form).requires_grad_()
    wide = x.detach().double().requires_grad_()
    out, expected = layer(x), exact(wide)
    assert out.grad_fn.name() in ("_ConvolutionBackward", "_TransposedBackward")
    assert transposed or out.is_contiguous(memory_format=form)
    grad = torch.randn_like(out)
    got = torch.autograd.grad(out, [x, *layer.parameters()], grad)
    wanted = torch.autograd.grad(expected, [wide, *exact.parameters()], grad.double())
    torch.testing.assert_close(out.double(), expected, rtol=1e-5, atol=1e-5)
    for a, b in zip(got, wanted, strict=True):
        torch.testing.assert_close(a.double(), b, rtol=1e-5, atol=1e-5)
    with torch.no_grad():
        torch.testing.assert_close(layer(x), out)


@pytest.mark.parametrize("transposed", [False, True])
def test_only_gradients_asked_for_are_computed(transposed, monkeypatch):
    layer, _ = layer_and_float64(transposed, (3, 3, 3), torch.channels_last_3d)
    x = torch.randn(1, 3, 3, 4, 5).to(memory_format=torch.channels_last_3d)
    layer(x).sum().backward()
    assert [t.grad is None for t in (x, layer.weight, layer.bias)] == [True, False, False]
    layer.requires_grad_(False)
    monkeypatch.setattr(convolutions, "correlate", None)
    layer(x.requires_grad_()).sum().backward()
    assert x.grad is not None


@pytest.mark.parametrize("transposed", [False, True])
def test_second_derivatives_and_transforms(transposed):
    layer, exact = layer_and_float64(transposed, (3, 3, 3), torch.channels_last_3d)
    x = torch.randn(2, 3, 2, 3, 4).to(memory_format=torch.channels_last_3d)

    def second(net, x):
        x = x.clone().requires_grad_()
        (first,) = torch.autograd.grad(net(x).pow(3).sum(), x, create_graph=True)
        return torch.autograd.grad(first.square().sum(), list(net.parameters()))

    for a, b in zip(second(layer, x), second(exact, x.double()), strict=True):
        torch.testing.assert_close(a.double(), b, rtol=1e-4, atol=1e-3)

    def loss(net, parameters, x):
        return torch.func.functional_call(net, parameters, (x,)).square().sum()

    of_samples = {net: torch.func.vmap(torch.func.grad(partial(loss, net)), (None, 0)) for net in (layer, exact)}
    got = of_samples[layer](dict(layer.named_parameters()), x.unsqueeze(1))
    wanted = of_samples[exact](dict(exact.named_parameters()), x.double().unsqueeze(1))
    for name in got:
        torch.testing.assert_close(got[name].double(), wanted[name], rtol=1e-4, atol=1e-4)


def test_several_gradients_at_once():
    layer, exact = layer_and_float64(False, (3, 3, 3), torch.contiguous_format)
    x = torch.randn(1, 3, 2, 3, 4, requires_grad=True)
    out, expected = layer(x), exact(x.double())
    grads = torch.randn(3, *out.shape)
    (got,) = torch.autograd.grad(out, layer.weight, grads, is_grads_batched=True)
    (wanted,) = torch.autograd.grad(expected, exact.weight, grads.double(), is_grads_batched=True)
    torch.testing.assert_close(got.double(), wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("form", FORMATS)
def test_training_step_of_a_net_is_as_with_pytorchs_layers(form, monkeypatch):
    torch.manual_seed(0)
    net = UCANet(1, 3, channels=(4, 8)).to(memory_format=form)
    x = torch.randn(2, 1, 5, 6, 7).to(memory_format=form)

    def gradients():
        net.zero_grad()
        net(x).square().mean().backward()
        return [p.grad.clone() for p in net.parameters()]

    got = gradients()
    monkeypatch.setattr(convolutions, "_is_quick", lambda *tensors: False)
    for a, b in zip(got, gradients(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("mode", ["autocast", "float64", "meta", "other CPU", "no oneDNN", "oneDNN off", "one sample"])
def test_other_cases_are_left_to_pytorch(mode, monkeypatch):
    layer, _ = layer_and_float64(False, (3, 3, 3), torch.contiguous_format)
    x = torch.randn(1, 3, 2, 3, 4)
    if mode == "float64":
        layer, x = layer.double(), x.double()
    elif mode == "meta":
        layer, x = layer.to("meta"), x.to("meta")
    elif mode == "other CPU":
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    elif mode == "no oneDNN":
        monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    elif mode == "one sample":
        x = x[0]
    else:
        monkeypatch.setattr(torch.backends.mkldnn, "enabled", mode != "oneDNN off")
    with torch.autocast("cpu", torch.bfloat16, enabled=mode == "autocast"):
        assert layer(x).grad_fn.name() != "_ConvolutionBackward"


@pytest.mark.parametrize("transposed", [False, True])
def test_modes_that_take_the_place_of_kernels_see_what_they_know(transposed):
    """Shapes without memory, and multiplications that are counted."""
    layer, _ = layer_and_float64(transposed, (3, 3, 3), torch.contiguous_format)
    x = torch.randn(1, 3, 2, 3, 4, requires_grad=True)
    like = nn.ConvTranspose3d if transposed else nn.Conv3d
    flops, backward = [], []
    for forward in (layer.forward, partial(like.forward, layer)):
        with FlopCounterMode(display=False) as counter:
            forward(x).sum().backward()
        flops.append(counter.get_total_flops())
        loss = forward(x).sum()
        with FlopCounterMode(display=False) as counter:
            loss.backward()
        backward.append(counter.get_total_flops())
    assert flops[0] == flops[1] > backward[0] == backward[1] > 0
    with FakeTensorMode() as mode:
        fake = ConvTranspose3d(3, 4, 3, 2, 1, 1) if transposed else Conv3d(3, 4, (3, 3, 3))
        out = fake(mode.from_tensor(x))
        out.sum().backward()
    assert out.shape == ((1, 4, 4, 6, 8) if transposed else (1, 4, 2, 3, 4))
    # Outside of the mode, as some hold it, the tensors alone tell.
    assert fake(mode.from_tensor(x)).shape == out.shape
    assert all(p.grad is not None for p in fake.parameters())


@pytest.mark.parametrize(
    "change", [{"padding_mode": "circular"}, {"dilation": (2, 1, 1)}, {"stride": (1, 2, 1)}, {"padding": (0, 1, 1)}]
)
def test_attributes_that_are_set_have_their_effect(change):
    """As in PyTorch's own layer, which goes by all of them."""
    layer, exact = layer_and_float64(False, (3, 3, 3), torch.contiguous_format)
    x = torch.randn(2, 3, 5, 6, 7)
    for name, value in change.items():
        for one in (layer, exact):
            setattr(one, name, value)
    like = nn.Conv3d(3, 4, 3, **{"padding": 1, **change}).double()
    like.load_state_dict(exact.state_dict())
    torch.testing.assert_close(layer(x).double(), like(x.double()), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("transposed", [False, True])
def test_a_parametrized_layer_computes_its_weight_once(transposed):
    layer, _ = layer_and_float64(transposed, (3, 3, 3), torch.contiguous_format)
    calls = []

    class Counted(nn.Module):
        def forward(self, weight):
            calls.append(1)
            return 2 * weight

    nn.utils.parametrize.register_parametrization(layer, "weight", Counted())
    calls.clear()
    layer(torch.randn(1, 3, 2, 3, 4)).sum().backward()
    assert len(calls) == 1


def test_a_patched_layer():
    """As tiling scripts do it."""
    layer, _ = layer_and_float64(False, (3, 3, 3), torch.contiguous_format)
    layer._conv_forward = lambda x, weight, bias: 2 * x
    x = torch.randn(1, 3, 2, 3, 4)
    assert torch.equal(layer(x), 2 * x)
