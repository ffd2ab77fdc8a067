"""`torch.func`, forward-mode differentiation and batches of gradients, against the reference, in float64."""

import copy
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd import forward_ad
from torch.func import functional_call, grad, hessian, jacfwd, jacrev, jvp, stack_module_state, vjp, vmap
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._pytree import tree_leaves

from crossattn3d import CSCA, ChannelCrossAttention3d, SliceCrossAttention3d, UCANet, UNet3d
from crossattn3d.functional import SCORE_NORMS
from crossattn3d.kernels import composed
from support.random_parameters import assert_close, generator, maps, normal, randomize

SIZE = (2, 3, 4)
U, E = maps(0, 2, 3, 4, SIZE)
DU, DE = (normal(tuple(x.shape), generator(1)) for x in (U, E))


def parameters(module: nn.Module) -> dict[str, Tensor]:
    return {name: p.detach() for name, p in module.named_parameters()}


def tangents(module: nn.Module) -> dict[str, Tensor]:
    g = generator(2)
    return {name: normal(tuple(p.shape), g) for name, p in module.named_parameters()}


def energy(module: nn.Module, p: dict[str, Tensor], u: Tensor, e: Tensor) -> Tensor:
    return functional_call(module, p, (u, e)).square().sum()


def of_frozen_parameters(module: nn.Module) -> Tensor:
    module.requires_grad_(False)
    with forward_ad.dual_level():
        return forward_ad.unpack_dual(module(forward_ad.make_dual(U, DU), E)).tangent


def of_a_batch(module: nn.Module) -> tuple[Tensor, ...]:
    u = U.clone().requires_grad_()
    out = module(u, E)
    several = normal((3, *out.shape), generator(3))
    return torch.autograd.grad(out, [u, *module.parameters()], several, is_grads_batched=True)


TRANSFORMS: dict[str, Callable[[nn.Module], Any]] = {
    "jvp": lambda m: jvp(lambda u, e, p: functional_call(m, p, (u, e)), (U, E, parameters(m)), (DU, DE, tangents(m))),
    "jacfwd": lambda m: jacfwd(lambda u: m(u, E).sum((1, 2, 3)))(U),
    "jacrev": lambda m: jacrev(lambda e: m(U, e).sum((1, 2, 3)))(E),
    "grad": lambda m: grad(lambda p: energy(m, p, U, E))(parameters(m)),
    "vmap": lambda m: vmap(m)(torch.stack([U, 2 * U]), torch.stack([E, E + 1])),
    "a gradient per sample": lambda m: vmap(grad(lambda p, u, e: energy(m, p, u[None], e[None])), in_dims=(None, 0, 0))(
        parameters(m), U, E
    ),
    "forward over reverse": lambda m: jvp(grad(lambda u: m(u, E).square().sum()), (U,), (DU,)),
    "dual numbers": of_frozen_parameters,
    "is_grads_batched": of_a_batch,
}


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("score_norm", SCORE_NORMS)
@pytest.mark.parametrize("kind", [ChannelCrossAttention3d, SliceCrossAttention3d, CSCA])
def test_transforms(kind, score_norm, transform):
    found = []
    for backend in ("torch", "reference"):
        module = randomize(kind(3, 4, score_norm=score_norm, backend=backend).double(), 1)
        found.append(tree_leaves(TRANSFORMS[transform](module)))
    assert len(found[0]) == len(found[1]) > 0
    for actual, expected in zip(*found, strict=True):
        assert_close(actual, expected, 1e-10, transform)


@pytest.mark.parametrize("use_checkpoint", [False, True])
@pytest.mark.parametrize("kind", [UCANet, UNet3d])
def test_transforms_of_a_net(kind, use_checkpoint):
    """Neither the maps that are recomputed nor checkpoints are in the way."""
    net = randomize(kind(1, 2, (4, 8), norm="instance", use_checkpoint=use_checkpoint).double(), 1)
    x = normal((1, 1, 4, 6, 8), generator(0))
    gradients = grad(lambda p: functional_call(net, p, (x,)).square().sum())(parameters(net))
    net(x).square().sum().backward()
    for name, p in net.named_parameters():
        assert_close(gradients[name], p.grad, 1e-10, name)
    dx, step = normal(tuple(x.shape), generator(4)), 1e-6
    with torch.no_grad():
        difference = (net(x + step * dx) - net(x - step * dx)) / (2 * step)
    assert_close(jvp(net, (x,), (dx,))[1].detach(), difference, 1e-6)


def in_a_batch_of_nets(net: nn.Module, x: Tensor) -> Tensor:
    """As in PyTorch's tutorial of ensembles: a net without memory, called with the parameters of three."""
    several = [randomize(copy.deepcopy(net), seed) for seed in range(3)]
    state, base = stack_module_state(several), copy.deepcopy(net).to("meta")
    out = vmap(lambda p, b: functional_call(base, (p, b), (x,)))(*state)
    for one, expected in zip(out, (net(x) for net in several), strict=True):
        assert_close(one.detach(), expected.detach(), 1e-10)
    return out


@pytest.mark.parametrize("use_checkpoint", [False, True])
@pytest.mark.parametrize("norm", ["batch", "instance", "group"])
@pytest.mark.parametrize("kind", [UCANet, UNet3d])
def test_more_transforms_of_a_net(kind, norm, use_checkpoint):
    """Ensembles, samples, vector-Jacobian products, Hessians."""
    net = randomize(kind(1, 2, (4, 8), norm=norm, use_checkpoint=use_checkpoint).double(), 1).eval()
    x = normal((1, 1, 4, 6, 8), generator(0))
    in_a_batch_of_nets(net, x)
    assert_close(vmap(net)(torch.stack([x, 2 * x]))[1].detach(), net(2 * x).detach(), 1e-10)
    p, direction = parameters(net), normal((1, 2, 4, 6, 8), generator(1))
    (found,) = vjp(lambda p: functional_call(net, p, (x,)), p)[1](direction)
    expected = torch.autograd.grad(net(x), list(net.parameters()), direction)
    for actual, gradient in zip(found.values(), expected, strict=True):
        assert_close(actual, gradient, 1e-10)
    # The squares sum to about 2,000, so that a shorter step would leave rounding alone of a small second derivative.
    scale, step = torch.ones((), dtype=torch.float64), 1e-3
    curve = [net((1 + k * step) * x).square().sum().item() for k in (-1, 0, 1)]
    second = torch.tensor((curve[0] - 2 * curve[1] + curve[2]) / step**2, dtype=torch.float64)
    assert_close(hessian(lambda s: net(s * x).square().sum())(scale).detach(), second, 1e-4)


@pytest.mark.parametrize("use_checkpoint", [False, True])
@pytest.mark.parametrize("norm", ["batch", "instance"])
@pytest.mark.parametrize("where", ["meta", "fake"])
def test_nets_without_memory(where, norm, use_checkpoint):
    """Made and called so, and differentiated; nothing asks for an address."""
    shapes = {}
    for device in (torch.device("meta") if where == "meta" else FakeTensorMode(), torch.device("cpu")):
        with warnings.catch_warnings(), device:
            warnings.simplefilter("error")
            net = UCANet(1, 2, (4, 6), norm=norm, use_checkpoint=use_checkpoint)
            out = net(torch.ones(2, 1, 4, 6, 8))
            out.sum().backward()
            shapes[device] = [x.shape for x in (out, *(p.grad for p in net.parameters()))]
    assert len({tuple(x) for x in shapes.values()}) == 1


@pytest.mark.slow
def test_every_way_of_gradcheck():
    module = randomize(CSCA(3, 4).double(), 1)
    u, e = U[:1].clone().requires_grad_(), E[:1].clone().requires_grad_()
    assert torch.autograd.gradcheck(
        module, (u, e), check_forward_ad=True, check_batched_grad=True, check_batched_forward_grad=True
    )


def checkpointed() -> tuple[UCANet, Tensor]:
    net = randomize(UCANet(1, 2, (4, 8), norm="instance", use_checkpoint=True).double(), 1)
    return net, normal((1, 1, 4, 6, 8), generator(0)).requires_grad_()


def test_a_checkpoint_is_computed_again_as_it_was_computed():
    """Whatever mode the backward pass runs in."""
    net, x = checkpointed()
    out = net(x)
    several = normal((2, *out.shape), generator(1))
    expected = torch.stack([torch.autograd.grad(out, x, one, retain_graph=True)[0] for one in several])
    with forward_ad.dual_level():
        assert_close(torch.autograd.grad(out, x, several[0], retain_graph=True)[0], expected[0], 1e-12)
    for batch in (
        vmap(lambda one: torch.autograd.grad(out, x, one, retain_graph=True)[0])(several),
        torch.autograd.grad(out, x, several, retain_graph=True, is_grads_batched=True)[0],
    ):
        assert_close(batch, expected, 1e-10)


def test_a_level_of_another_thread_has_no_effect(monkeypatch):
    """The level of forward mode is one for the whole process."""
    net, x = checkpointed()
    net.use_checkpoint = False
    called = []
    monkeypatch.setattr(composed, "cross_attention", lambda *_: called.append(1))
    with forward_ad.dual_level():
        net(x).sum().backward()
    assert called == []


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("transform", ["jvp", "jacfwd", "grad", "vmap"])
def test_compiled_transforms(transform):
    module = randomize(CSCA(3, 4).double(), 1)
    expected = tree_leaves(TRANSFORMS[transform](module))
    torch._dynamo.reset()
    actual = tree_leaves(torch.compile(TRANSFORMS[transform], backend="eager")(module))
    for found, wanted in zip(actual, expected, strict=True):
        assert_close(found.detach(), wanted.detach(), 1e-10, transform)


@pytest.mark.usefixtures("unchecked")
def test_a_compiled_backward_pass():
    """All of it in one graph."""
    module = randomize(CSCA(3, 4).double(), 1)
    u = U.clone().requires_grad_()
    expected = torch.autograd.grad(module(u, E).square().sum(), u)[0]
    torch._dynamo.reset()
    with torch._dynamo.compiled_autograd._enable(torch.compile(backend="eager", fullgraph=True)):
        module(u, E).square().sum().backward()
    assert_close(u.grad, expected, 1e-12)


@pytest.mark.parametrize("score_norm", SCORE_NORMS)
def test_maps_without_voxels(score_norm):
    """Transformed or not, and in the attention's map."""
    module = randomize(CSCA(3, 4, score_norm=score_norm), 1)
    u, e = torch.ones(2, 3, 2, 3, 0), torch.ones(2, 4, 2, 3, 0)
    assert module(u, e).shape == vmap(module)(u[None], e[None])[0].shape == (2, 4, 2, 3, 0)
    if score_norm in ("none", "cosine"):  # the others divide by the number of voxels
        assert module.attention_maps(u, e)[0].isfinite().all()


def test_a_recorded_gradient_runs_and_says_what_it_cannot_do():
    module, (query, context) = CSCA(3).double(), maps(1, 2, 3, 3, (2, 3, 5))
    query.requires_grad_()

    def slope(query: Tensor, context: Tensor) -> Tensor:
        return torch.autograd.grad(module(query, context).square().sum(), query, create_graph=True)[0]

    def first(query: Tensor, context: Tensor) -> Tensor:
        return torch.autograd.grad(module(query, context).square().sum(), query)[0]

    def second(query: Tensor, context: Tensor) -> Tensor:
        return torch.autograd.grad(slope(query, context).square().sum(), query)[0]

    for function in (first, second):
        program = make_fx(function)(query, context)
        assert_close(program(query, context), function(query, context), 1e-10)
    program = make_fx(first)(query, context)
    assert "attend_backward" in program.code
    with pytest.raises(ValueError, match=r"attend_backward: expected no derivative .*; got one; record"):
        program(query, context).sum().backward()
