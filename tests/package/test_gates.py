"""Gates as parts of the attention modules: changed, replaced, trained, and the options that make them."""

import pytest
import torch
from torch.nn.utils import prune

from crossattn3d import CSCA, ChannelCrossAttention3d, SliceCrossAttention3d, UCANet
from support.random_parameters import assert_close, maps, randomize

KINDS = [ChannelCrossAttention3d, SliceCrossAttention3d, CSCA]
SIZE = (3, 4, 5)


def test_a_gate_that_is_changed_is_called() -> None:
    module = randomize(CSCA(3, 4, gated=True).double(), 0)
    u, e = maps(1, 2, 3, 4, SIZE)
    plain = module(u, e)
    module.recompute = True
    assert module.recompute
    module.gate.register_forward_hook(lambda *_: None)
    assert not module.recompute
    assert_close(module(u, e), plain, 1e-9)
    module.gate.register_forward_hook(lambda _module, _inputs, out: torch.zeros_like(out))
    assert not module(u, e).any()
    module.gate.register_forward_hook(lambda _module, _inputs, out: out[:, :1, :1])
    with pytest.raises(ValueError, match=r"CSCA: expected gate to return \(2, 4, 3, 4, 5\); got .*; mend the hook"):
        module(u, e)


class Twice(torch.nn.Module):
    """A wrapper that seems to be what it wraps."""

    def __init__(self, wrapped: torch.nn.Module) -> None:
        super().__init__()
        self.wrapped = wrapped

    def __getattr__(self, name: str):
        return getattr(self._modules["wrapped"], name) if name != "wrapped" else self._modules["wrapped"]

    def forward(self, query: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        return 2 * self.wrapped(query, context)


def test_a_gate_that_is_wrapped_or_replaced_is_called() -> None:
    module = randomize(CSCA(4, gated=True).double(), 0)
    u, e = maps(1, 2, 4, 4, SIZE)
    passed = module(u, e) - u
    module.recompute = True
    module.gate = Twice(module.gate)
    assert module.fused_arguments() is None
    assert module.recomputation(u, e) is None
    assert_close(module(u, e), u + 2 * passed, 1e-9)
    module.gate.wrapped.register_forward_hook(lambda _module, _inputs, out: out.float())
    assert module(u, e).dtype == torch.float64
    for gate, message in (
        (True, "it is no module"),
        (torch.nn.ReLU(), "too many positional"),
        (None, "it is no module"),
    ):
        with pytest.raises(ValueError, match=f"CSCA: expected gate as a module that takes .*{message}"):
            module.gate = gate
    with pytest.raises(ValueError, match="CSCA: expected gate as None, by gated=False; got ReLU; make the CSCA with"):
        CSCA(4).gate = torch.nn.ReLU()


def test_pruned_layers_of_a_gate_are_called() -> None:
    module = randomize(CSCA(4, gated=True).double(), 0)
    u, e = maps(1, 2, 4, 4, SIZE)
    prune.random_unstructured(module.gate.of_query, "weight", 0.5)
    assert module.fused_arguments() is None
    layer = module.gate.of_query
    expected = module(u, e)
    plain = CSCA(4, gated=True).double()
    state = {name: value for name, value in module.state_dict().items() if "of_query" not in name}
    plain.load_state_dict(state | {"gate.of_query.weight": layer.weight_orig * layer.weight_mask})
    assert_close(plain(u, e), expected, 1e-9)


def test_a_gate_starts_nearly_open_before_a_static_mixture() -> None:
    module = CSCA(4, gated=True)
    assert set(module.state_dict()) - set(CSCA(4).state_dict()) == {
        "gate.of_query.weight", "gate.of_context.weight", "gate.bias",
        "channel.gain", "channel.to_static.weight", "channel.to_static.bias",
    }  # fmt: skip
    for layer in (module.gate.of_query, module.gate.of_context):
        torch.nn.init.zeros_(layer.weight)
    slices = SliceCrossAttention3d(4, residual=False)
    slices.load_state_dict(module.slices.state_dict())
    u, e = maps(0, 1, 4, 4, SIZE, torch.float32)
    mixture = module.channel.to_static(e) + slices(u, e)
    assert_close(module(u, e), u + torch.tensor(2.0).sigmoid() * mixture, 1e-5)


def test_slices_have_no_static_mixture() -> None:
    module = SliceCrossAttention3d(4, gated=True)
    assert {name.split(".")[0] for name, _ in module.named_parameters()} == {
        "to_query", "to_key", "to_value", "to_out", "gate",
    }  # fmt: skip


@pytest.mark.parametrize("kind", [ChannelCrossAttention3d, CSCA])
def test_a_static_mixture_that_is_changed_is_called(kind: type) -> None:
    module = randomize(kind(3, 4, gated=True).double(), 0)
    half = module if kind is ChannelCrossAttention3d else module.channel
    u, e = maps(1, 2, 3, 4, SIZE)
    plain = module(u, e)
    handle = half.to_static.register_forward_hook(lambda *_: None)
    assert module.fused_arguments() is None
    assert_close(module(u, e), plain, 1e-9)
    handle.remove()
    half.to_static.register_forward_hook(lambda _module, _inputs, out: out[:, :1])
    with pytest.raises(ValueError, match=r"expected to_static to return \(2, 4, 3, 4, 5\); got"):
        module(u, e)


@pytest.mark.parametrize("attention", ["csca", "cca", "sca"])
def test_a_net_with_gates_trains_as_one_that_keeps_its_maps(attention: str) -> None:
    gradients = []
    for recompute in (True, False):
        torch.manual_seed(0)
        net = randomize(UCANet(1, 2, (2, 3, 4), attention=attention, gated=True).double(), 1)
        for skip in net.skips:
            assert not skip.recompute
            skip.recompute = recompute
            assert skip.recompute == recompute
        x, _ = maps(2, 2, 1, 1, (5, 6, 7))
        net(x).square().mean().backward()
        gradients.append({name: p.grad for name, p in net.named_parameters()})
    assert any("gate" in name for name in gradients[0])
    for name, value in gradients[0].items():
        assert_close(value, gradients[1][name], 1e-9, name)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("kind", KINDS)
def test_options_of_the_gate_are_checked(kind: type) -> None:
    with pytest.raises(ValueError, match=f"{kind.__name__}: expected gated to be True or False; got 1"):
        kind(4, gated=1)
    module = kind(4, gated=True)
    with pytest.raises(
        ValueError, match=f"{kind.__name__}: expected gated to stay True, which the layers were made for"
    ):
        module.gated = False
    with pytest.raises(ValueError, match=r"expected gated to stay True, .*; got 1"):
        module.gated = 1
    with pytest.raises(ValueError, match="UCANet: expected gated to be True or False; got 'yes'"):
        UCANet(1, 2, gated="yes")
    with pytest.raises(ValueError, match="UCANet: expected gated to stay False"):
        UCANet(1, 2, (2, 3)).gated = True
