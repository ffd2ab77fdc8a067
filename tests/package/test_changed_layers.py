"""Whatever hooks, wraps, parametrizes, patches or replaces a projection has its effect, in values and gradients."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.utils.module_tracker import ModuleTracker

from crossattn3d import CSCA, ChannelCrossAttention3d, SliceCrossAttention3d, UCANet, UNet3d
from crossattn3d.functional import SCORE_NORMS
from support.backends import EVERY
from support.changed_layers import CHANGES
from support.lora import LoraConv3d, add_lora
from support.random_parameters import assert_close, generator, maps, normal, randomize

PROJECTIONS = ("to_query", "to_key", "to_value", "to_out")
KINDS = [ChannelCrossAttention3d, SliceCrossAttention3d, CSCA]
SIZE = (2, 3, 5)
PLACES = [
    *((ChannelCrossAttention3d, name) for name in PROJECTIONS[:3]),
    *((SliceCrossAttention3d, name) for name in PROJECTIONS),
    *((CSCA, f"channel.{name}") for name in PROJECTIONS[:3]),
    *((CSCA, f"slices.{name}") for name in PROJECTIONS),
]


def attention(kind, **options) -> nn.Module:
    return randomize(kind(3, 4, **options).double(), 1)


def results(module: nn.Module, extra: tuple[Tensor, ...] = ()) -> list[Tensor]:
    """Output, gradients of both maps and of all parameters that have one."""
    query, context = (x.requires_grad_() for x in maps(2, 2, 3, 4, SIZE))
    out = module(query, context)
    inputs = [query, context, *(p for p in module.parameters() if p.requires_grad), *extra]
    return [out.detach(), *torch.autograd.grad((out * normal(tuple(out.shape), generator(3))).sum(), inputs)]


def assert_same(actual: list[Tensor], expected: list[Tensor], tolerance: float = 1e-10) -> None:
    for a, b in zip(actual, expected, strict=True):
        assert_close(a, b, tolerance)


@pytest.mark.parametrize("backend", EVERY)
@pytest.mark.parametrize("slice_dim", [-3, -1, 3])
@pytest.mark.parametrize("score_norm", SCORE_NORMS)
@pytest.mark.parametrize("kind", KINDS)
def test_layers_that_are_called_give_what_the_operation_gives(kind, score_norm, slice_dim, backend):
    """Each layer alone, and all of them, behind a wrapper that does nothing; the attention maps, too."""
    module = attention(kind, score_norm=score_norm, slice_dim=slice_dim, backend=backend)
    expected = results(module)
    shown = module.attention_maps(*maps(2, 2, 3, 4, SIZE))
    places = [place for of_kind, place in PLACES if of_kind is kind]
    for chosen in ([place] for place in places) if backend == "auto" else [places]:
        wrapped = copy.deepcopy(module)
        for place in chosen:
            wrapped.set_submodule(place, nn.Sequential(wrapped.get_submodule(place)))
        assert_same(results(wrapped), expected)
        again = wrapped.attention_maps(*maps(2, 2, 3, 4, SIZE))
        for a, b in zip(*([x] if isinstance(x, Tensor) else x for x in (again, shown)), strict=True):
            assert_close(a, b, 1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_without_changes_no_layer_is_called(kind, monkeypatch):
    """The fast way is taken, and no hook of PyTorch's own that only looks on keeps it from being taken."""
    module = attention(kind)
    monkeypatch.setattr(nn.Conv3d, "_conv_forward", None)
    with ModuleTracker():
        module(*maps(2, 2, 3, 4, SIZE))


@pytest.mark.parametrize(("kind", "place"), PLACES)
def test_lora_learns_and_can_be_merged(kind, place):
    """Adapters move, the output moves with them, and is that of the merged weights."""
    module = attention(kind)
    inputs = maps(2, 2, 3, 4, SIZE)
    before = module(*inputs)
    (wrapper,) = (w for path, w in add_lora(module, place.split(".")[-1]).items() if path == place)
    assert_close(module(*inputs), before, 1e-12)
    trained = [p for p in module.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(trained, 0.5)
    for _ in range(3):
        optimizer.zero_grad()
        module(*inputs).square().sum().backward()
        optimizer.step()
    assert wrapper.lora_A.weight.grad.abs().max() > 0
    assert wrapper.lora_B.weight.abs().max() > 0
    after = module(*inputs)
    assert not torch.allclose(after, before, rtol=1e-3)
    for path, layer in list(module.named_modules()):
        if isinstance(layer, LoraConv3d):
            module.set_submodule(path, layer.merged())
    assert_close(module(*inputs), after, 1e-11)


def test_dropout_of_lora_is_drawn_once_for_a_step_of_a_net():
    """What the attention gives is not computed again with other values for the backward pass."""
    torch.manual_seed(1)  # some weights are at a corner of ReLU, where the differences below are no derivative
    net = randomize(UCANet(1, 2, (3, 4), norm="instance").double(), 1)
    for wrapper in add_lora(net, *PROJECTIONS, dropout=0.5).values():
        nn.init.normal_(wrapper.lora_B.weight)
    x = normal((1, 1, 4, 6, 8), generator(0))

    def loss(x: Tensor) -> Tensor:
        torch.manual_seed(0)
        return net(x).square().sum()

    weight = net.decoder[0][0].weight.requires_grad_()
    (slope,) = torch.autograd.grad(loss(x), weight)
    direction, step = torch.ones_like(weight), 1e-6
    with torch.no_grad():
        weight += step * direction
        above = loss(x)
        weight -= 2 * step * direction
        below = loss(x)
    assert_close((slope * direction).sum(), (above - below) / (2 * step), 1e-6)


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize(("kind", "place"), PLACES)
def test_changes_have_their_effect(kind, place, change):
    """As with an attention whose layer has the weight and bias that the changed layer computes with."""
    module, plain = attention(kind, score_norm="mean").eval(), attention(kind, score_norm="mean")
    change(module.get_submodule(place))
    layer, like = module.get_submodule(place), plain.get_submodule(place)
    with torch.no_grad():
        width = like.in_channels
        bias = layer(torch.zeros(1, width, 1, 1, 1).double()).flatten()
        weight = (layer(torch.eye(width).double().reshape(width, width, 1, 1, 1)).flatten(1) - bias).T
        assert not (torch.allclose(weight, like.weight.flatten(1)) and torch.allclose(bias, like.bias))
        like.weight.copy_(weight[..., None, None, None])
        like.bias.copy_(bias)
    inputs = maps(2, 2, 3, 4, SIZE)
    assert_close(module(*inputs), plain(*inputs), 1e-10)
    u, e = (x.requires_grad_() for x in inputs)
    gradients = [torch.autograd.grad(m(u, e).square().sum(), (u, e)) for m in (module, plain)]
    assert_same(*map(list, gradients))


@pytest.mark.parametrize(("kind", "place"), PLACES)
def test_backward_hooks_fire_and_see_gradients(kind, place):
    module, seen = attention(kind), []
    module.get_submodule(place).register_full_backward_hook(lambda _m, _dx, dy: seen.append(dy[0]))
    module.get_submodule(place).register_full_backward_pre_hook(lambda _m, dy: seen.append(dy[0]))
    results(module)
    assert len(seen) == 2
    assert all(x.abs().max() > 0 for x in seen)


def test_hooks_of_all_modules_see_the_layers():
    module, seen = attention(CSCA), []
    handle = nn.modules.module.register_module_forward_hook(lambda m, _x, out: seen.append(m))
    try:
        module(*maps(2, 2, 3, 4, SIZE))
    finally:
        handle.remove()
    assert {type(m) for m in seen} >= {CSCA, nn.Conv3d}
    assert len([m for m in seen if isinstance(m, nn.Conv3d)]) == 7


@pytest.mark.parametrize("name", ["channel", "slices"])
def test_hooks_of_a_half_have_their_effect(name):
    """And the half that has none is still computed by the operation."""
    module = attention(CSCA, residual=False)
    inputs = maps(2, 2, 3, 4, SIZE)
    before, halves = module(*inputs), {}
    for half in ("channel", "slices"):
        module.get_submodule(half).register_forward_hook(lambda _m, _x, out, half=half: halves.update({half: out}))
    module(*inputs)
    assert_close(halves["channel"] + halves["slices"], before, 1e-11)
    changed = attention(CSCA, residual=False)
    changed.get_submodule(name).register_forward_hook(lambda _m, _x, out: 3 * out)
    assert_close(changed(*inputs), before + 2 * halves[name], 1e-11)


@pytest.mark.parametrize("kind", KINDS)
def test_layers_without_a_bias(kind):
    module, plain = attention(kind), attention(kind)
    for place in (place for of_kind, place in PLACES if of_kind is kind):
        nn.init.zeros_(plain.get_submodule(place).bias)
        module.get_submodule(place).bias = None
    assert_close(module(*maps(2, 2, 3, 4, SIZE)), plain(*maps(2, 2, 3, 4, SIZE)), 1e-12)


def test_a_larger_kernel_is_honored():
    """It takes each voxel's neighbors into account."""
    module, size = attention(CSCA, residual=False), (2, 3, 5)
    module.channel.to_value = nn.Conv3d(4, 4, 3, padding=1).double()
    query, context = maps(2, 1, 3, 4, size)
    m = module.attention_maps(query, context).channel
    expected = torch.einsum("bij,bjxyz->bixyz", m, module.channel.to_value(context))
    without = attention(SliceCrossAttention3d, residual=False)
    without.load_state_dict(module.slices.state_dict())
    assert_close(module(query, context), expected + without(query, context), 1e-11)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_called_layers_under_autocast(dtype):
    """Half-precision maps from layers before; the scores are not in half precision."""
    module = randomize(CSCA(3, 4), 1)
    query, context = maps(2, 1, 3, 4, SIZE, dtype)
    expected = module(query.float(), context.float())
    module.channel.to_key.register_forward_hook(lambda *_: None)
    with torch.autocast("cpu", torch.bfloat16):
        out = module(query, context)
    assert out.dtype == dtype
    assert_close(out.float(), expected, 0.05)


@pytest.mark.parametrize("place", ["skips.0", "skips.0.slices", "skips.0.channel.to_key", "decoder.0", "decoder.0.0"])
def test_hooks_in_a_net_run_once_for_a_step(place):
    net, calls = UCANet(1, 2, (3, 4)), []
    assert net.skips[0].recompute
    net.get_submodule(place).register_forward_hook(lambda *_: calls.append(1))
    net(torch.ones(2, 1, 4, 6, 8)).sum().backward()
    assert calls == [1]


def test_a_decoder_block_can_be_replaced():
    net = UCANet(1, 2, (3, 4))
    net.decoder[0] = nn.Conv3d(3, 3, 1)
    net(torch.ones(2, 1, 4, 6, 8)).sum().backward()
    assert net.skips[0].channel.to_key.weight.grad is not None


def test_a_first_layer_that_changes_its_input_has_right_gradients():
    """A view with the address and shape of the map that is recomputed is another map."""
    net = randomize(UCANet(1, 2, (3, 4), norm="instance").double(), 1)

    class Turned(nn.Module):
        def __init__(self, layer: nn.Module) -> None:
            super().__init__()
            self.layer = layer

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x.transpose(3, 4))

    net.decoder[0][0] = Turned(net.decoder[0][0])
    x = normal((1, 1, 4, 6, 6), generator(0))
    found = []
    for recompute in (True, False):
        net.skips[0].recompute = recompute
        found.append(torch.autograd.grad(net(x).square().sum(), list(net.parameters())))
    assert_same(*map(list, found), tolerance=1e-12)


BETWEEN = {
    "hook of a skip": lambda skip: skip.register_forward_hook(lambda module, inputs, output: 3 * output),
    "hook of a half": lambda skip: skip.slices.register_forward_hook(lambda module, inputs, output: 3 * output),
    "hook of a layer": lambda skip: skip.channel.to_value.register_forward_hook(lambda *_: None),
    "score_norm": lambda skip: setattr(skip, "score_norm", "mean"),
    "residual": lambda skip: setattr(skip, "residual", False),
    "layer": lambda skip: skip.set_submodule("channel.to_key", nn.Conv3d(3, 3, 1).double()),
    "adapter": lambda skip: add_lora(skip, "to_out"),
}


@pytest.mark.parametrize("change", BETWEEN)
def test_changes_after_the_forward_pass_do_not_reach_its_gradients(change):
    net = randomize(UCANet(1, 2, (3, 4), norm="instance").double(), 1)
    x, inputs = normal((1, 1, 4, 6, 8), generator(0)), list(net.parameters())
    assert net.skips[0].recompute
    expected = torch.autograd.grad(net(x).square().sum(), inputs)
    loss = net(x).square().sum()
    BETWEEN[change](net.skips[0])
    for parameter in inputs:
        parameter.requires_grad_()
    assert_same(list(torch.autograd.grad(loss, inputs)), list(expected), tolerance=1e-12)


class Dropped(CSCA):
    def forward(self, query: Tensor, context: Tensor) -> Tensor:
        return nn.functional.dropout(super().forward(query, context))


@pytest.mark.parametrize("how", ["subclass", "patch"])
def test_a_forward_of_its_own_is_called_once_for_a_step(how):
    net = randomize(UNet3d(1, 2, (3, 4), skip=Dropped if how == "subclass" else CSCA, norm="instance").double(), 1)
    skip, calls = net.skips[0], []
    if how == "patch":
        forward = skip.forward
        skip.forward = lambda *maps: (calls.append(1), nn.functional.dropout(forward(*maps)))[1]
    x, found = normal((1, 1, 4, 6, 8), generator(0)), []
    for wanted in (True, False):
        skip.recompute = wanted
        assert not skip.recompute
        torch.manual_seed(0)
        found.append(torch.autograd.grad(net(x).square().sum(), list(net.parameters())))
    assert_same(*map(list, found), tolerance=1e-12)
    assert len(calls) == (2 if how == "patch" else 0)
