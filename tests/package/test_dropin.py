"""CSCA in other libraries' nets: what the blocks get, what stays as it was, and what the wrapped nets survive."""

import copy
import io
import pickle
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from crossattn3d import CSCA, ChannelCrossAttention3d, SliceCrossAttention3d
from crossattn3d.dropin import AttendedBlock, AttendedMap, unwrap_skips, wrap_skips
from support.monai_and_nnunet_nets import OTHER_NETS, basic_unet, plain_conv_unet
from support.random_parameters import assert_close, randomize
from support.wrapped_nets import logits, volume, wrappers

#: Of float64: the order of sums over a few thousand voxels may differ.
EXACT = 1e-12
#: With millions of weights, or for large volumes only.
LARGE = {"FlexibleUNet", "SwinUNETR", "VNet", "AHNet"}
NAMES = [pytest.param(name, marks=pytest.mark.slow if name in LARGE else ()) for name in OTHER_NETS]
CONCATENATING = [param for param in NAMES if OTHER_NETS[param.values[0]].takes is None]


def first_convolution(block: AttendedBlock) -> nn.Module:
    return next(m for m in block.block.modules() if isinstance(m, nn.modules.conv._ConvNd))


def maps_of_forward(net: nn.Module, x: Tensor, names: list[str]) -> tuple[dict[str, Tensor], dict[nn.Module, tuple]]:
    """Return what each named module gives, or takes as its second argument with :1; and what each module was given."""
    seen: dict[str, Tensor] = {}
    given: dict[nn.Module, tuple] = {}

    def note(name: str, second: bool) -> Callable[[nn.Module, tuple, Tensor], None]:
        return lambda _, inputs, output: seen.update({name: inputs[1] if second else output})

    def note_inputs(module: nn.Module, inputs: tuple) -> None:
        given[module] = inputs

    hooks = [module.register_forward_pre_hook(note_inputs) for module in net.modules()]
    for name in names:
        path, _, second = name.partition(":")
        module = net.get_submodule(path)
        module = module.block if isinstance(module, AttendedMap) else module
        hooks.append(module.register_forward_hook(note(name, bool(second))))
    net(x)
    for hook in hooks:
        hook.remove()
    return seen, given


def check_joins(name: str, net: nn.Module, dimensions: int, concatenate: bool = True) -> None:
    """Assert that each join of a net in float64 is of U and CSCA(U, E)."""
    other = OTHER_NETS[name]
    seen, given = maps_of_forward(net, volume(name, dimensions, dtype=torch.float64), other.decoder + other.encoder)
    assert len(wrappers(net)) == len(other.decoder) == len(other.encoder)
    for i, (u, e) in enumerate(zip(other.decoder, other.encoder, strict=True)):
        u, e = seen[u], seen[e]
        flat = [w for w in wrappers(net) if torch.equal(given[w.attention][0].reshape(-1), u.reshape(-1))]
        (wrapper,) = flat
        query, context = (x.unsqueeze(2) if dimensions == 2 else x for x in (u, e))
        attended = wrapper.attention(query, context)
        attended = attended.squeeze(2) if dimensions == 2 else attended
        joined = {
            "encoder first": lambda u=u, a=attended: torch.cat([a, u], dim=1),
            "decoder first": lambda u=u, a=attended: torch.cat([u, a], dim=1),
            "adds": lambda u=u, a=attended: u + a,
        }
        taker = wrapper.block if other.takes is None else net.get_submodule(other.takes[i])
        assert_close(given[taker][0], joined[other.how]() if concatenate else attended, EXACT)
        assert wrapper.attention.slice_dim == other.slice_dim
        assert wrapper.attention.residual == (not concatenate and u.shape[1] == e.shape[1])


@pytest.mark.parametrize("name", NAMES)
def test_the_blocks_get_the_attended_encoder_maps(name: str) -> None:
    net = randomize(wrap_skips(OTHER_NETS[name].make(3)), 1).double().eval()
    check_joins(name, net, 3)
    assert {type(wrapper.attention) for wrapper in wrappers(net)} == {CSCA}


@pytest.mark.parametrize("name", CONCATENATING)
def test_the_blocks_get_the_attention_alone(name: str) -> None:
    net = randomize(wrap_skips(OTHER_NETS[name].make(3), concatenate=False), 1).double().eval()
    check_joins(name, net, 3, concatenate=False)
    assert all(first_convolution(w).in_channels == w.attention.out_channels for w in wrappers(net))


@pytest.mark.parametrize("name", OTHER_NETS)
def test_2d_nets_take_channel_attention(name: str) -> None:
    check_joins(name, randomize(wrap_skips(OTHER_NETS[name].make(2), attention="cca"), 8).double().eval(), 2)


@pytest.mark.parametrize("name", NAMES)
def test_starts_as_the_net_was_and_goes_back(name: str) -> None:
    original = randomize(OTHER_NETS[name].make(3), 2).eval()
    x = volume(name)
    with torch.no_grad():  # DynUNet keeps its last outputs, which cannot be copied if they have gradients
        before, kept = logits(original, x), copy.deepcopy(original.state_dict())
        net = wrap_skips(original, zero_init=True)
        assert net is original
        assert all(torch.equal(a, b) for a, b in zip(logits(net, x), before, strict=True))
        assert set(net.state_dict()) != set(kept)
        for wrapper in wrappers(net):
            wrapper.gate.fill_(0.5)
        assert not torch.allclose(logits(net, x)[0], before[0], rtol=0.01)
        assert unwrap_skips(net) is net
        assert list(net.state_dict()) == list(kept)
        assert all(torch.equal(net.state_dict()[key], value) for key, value in kept.items())
        assert all(torch.equal(a, b) for a, b in zip(logits(net, x), before, strict=True))
    assert not any("Attended" in type(module).__name__ or "Lone" in type(module).__name__ for module in net.modules())
    wrap_skips(net)


@pytest.mark.parametrize("name", NAMES)
def test_starts_as_the_net_was_in_training(name: str) -> None:
    """With dropout, statistics of the batch and an autoencoder's noise: the attention draws no random numbers."""
    plain = randomize(OTHER_NETS[name].make(3), 12).train()
    net = wrap_skips(copy.deepcopy(plain), zero_init=True)
    assert all(module.training for module in net.modules())
    outputs = []
    for each in (plain, net):
        torch.manual_seed(0)
        outputs.append(logits(each, volume(name, batch=2)))
    assert all(torch.equal(a, b) for a, b in zip(*outputs, strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_zero_init_leaves_zero_when_trained(name: str) -> None:
    net = wrap_skips(randomize(OTHER_NETS[name].make(3), 3), zero_init=True)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        sum(out.square().mean() for out in logits(net, volume(name, batch=2))).backward()
        optimizer.step()
    for wrapper in wrappers(net):
        assert wrapper.gate.item() != 0
        # Biases of keys change no score after instance normalization; the weights of all projections count.
        weights = [p for key, p in wrapper.attention.named_parameters() if key.endswith("weight")]
        assert all(p.grad is not None and p.grad.abs().max() > 0 for p in weights)


@pytest.mark.parametrize("name", NAMES)
def test_encoder_maps_are_trained_through_the_attention(name: str) -> None:
    net = wrap_skips(randomize(OTHER_NETS[name].make(3), 13))
    largest = {wrapper.attention: 0.0 for wrapper in wrappers(net)}

    def keep(attention: nn.Module, maps: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        context = maps[1].view_as(maps[1])  # only the attention reads this one
        context.register_hook(lambda grad: largest.update({attention: grad.abs().max().item()}))
        return maps[0], context

    for attention in largest:
        attention.register_forward_pre_hook(keep)
    sum(out.square().mean() for out in logits(net, volume(name, batch=2))).backward()
    assert all(value > 0 for value in largest.values())


@pytest.mark.parametrize("name", NAMES)
def test_parameters_are_registered_and_survive_copying(name: str) -> None:
    make, x = OTHER_NETS[name].make, volume(name)
    plain, net = make(3), randomize(wrap_skips(make(3), score_norm="cosine"), 4).eval()
    new = sum(p.numel() for wrapper in wrappers(net) for p in wrapper.attention.parameters())
    assert sum(p.numel() for p in net.parameters()) == sum(p.numel() for p in plain.parameters()) + new
    with torch.no_grad():  # DynUNet keeps its last outputs, which cannot be copied if they have gradients
        expected = logits(net, x)

    loaded = wrap_skips(make(3), score_norm="cosine").eval()
    file = io.BytesIO()
    torch.save(net.state_dict(), file)
    file.seek(0)
    loaded.load_state_dict(torch.load(file, weights_only=True))
    twins = [copy.deepcopy(net), loaded]
    if not name.startswith("Residual"):  # cannot be pickled, wrapped or not: they keep a lambda
        twins.append(pickle.loads(pickle.dumps(net)))
    randomize(net, 5)  # what is shared with a twin would change it
    with torch.no_grad():
        for twin in twins:
            assert all(torch.equal(a, b) for a, b in zip(logits(twin, x), expected, strict=True))


def test_the_autoencoder_of_segresnetvae_has_no_encoder_maps_to_attend_to() -> None:
    plain = randomize(OTHER_NETS["SegResNetVAE"].make(3), 15).train()
    net = wrap_skips(copy.deepcopy(plain))
    x = volume("SegResNetVAE")
    outputs = []
    for each in (plain, net):
        torch.manual_seed(0)
        outputs.append(each(x))
    (before, loss_before), (after, loss) = outputs
    assert torch.equal(loss, loss_before)
    assert not torch.allclose(after, before, rtol=0.01)


@pytest.mark.parametrize("attention", ["csca", "cca", "sca"])
def test_options_reach_every_skip(attention: str) -> None:
    net = wrap_skips(basic_unet(3), attention=attention, score_norm="mean", slice_dim=-2, backend="reference")
    kinds = {"csca": CSCA, "cca": ChannelCrossAttention3d, "sca": SliceCrossAttention3d}
    for wrapper in wrappers(net):
        assert type(wrapper.attention) is kinds[attention]
        skip = wrapper.attention
        assert (skip.score_norm, skip.slice_dim, skip.backend) == ("mean", -2, "reference")
    assert "encoder_first=True" in repr(net)


@pytest.mark.parametrize(
    ("name", "part", "first"),
    [
        ("BasicUNet", "upcat_2.convs", "conv_0.conv.weight"),
        ("SegResNet", "up_samples.1", "0.conv.weight"),
        ("SegResNetDS", "up_layers.0.upsample", "deconv.weight"),
        ("PlainConvUNet", "decoder.stages.1", "convs.0.conv.weight"),
    ],
)
def test_names_of_parameters(name: str, part: str, first: str) -> None:
    """Files that were saved from a wrapped net go by these names."""
    plain = OTHER_NETS[name].make(3).state_dict()
    keys = wrap_skips(OTHER_NETS[name].make(3), zero_init=True).state_dict().keys()
    new = {key.removeprefix(f"{part}.") for key in keys if key.startswith(f"{part}.")}
    old = {key.removeprefix(f"{part}.") for key in plain if key.startswith(f"{part}.")}
    projections = [f"channel.to_{x}" for x in ("query", "key", "value")]
    projections += [f"slices.to_{x}" for x in ("query", "key", "value", "out")]
    attention = {f"attention.{projection}.{kind}" for projection in projections for kind in ("weight", "bias")}
    assert first in old
    assert new == {"gate"} | attention | {f"block.{key}" for key in old}


def test_new_parameters_are_where_and_as_the_net_is() -> None:
    net = wrap_skips(basic_unet(3).double().eval(), zero_init=True)
    assert {p.dtype for p in net.parameters()} == {torch.float64}
    assert not any(module.training for module in net.modules())
    assert all(isinstance(w.gate, nn.Parameter) and w.gate.requires_grad for w in wrappers(net))
    assert {p.device.type for p in wrap_skips(basic_unet(3).to("meta"), zero_init=True).parameters()} == {"meta"}


def with_axes_moved(net: nn.Module) -> nn.Module:
    """The net for volumes with their first axis put last: the axes of every kernel move as well."""
    net = copy.deepcopy(net)
    for module in net.modules():
        if isinstance(module, nn.Conv3d | nn.ConvTranspose3d):
            module.weight = nn.Parameter(module.weight.detach().movedim(2, -1).contiguous())
    return net


def test_slices_last_transposes_the_output() -> None:
    """MONAI's volumes have slices last; the same volume with slices first and slice_dim=-3 gives the same."""
    last = wrap_skips(randomize(basic_unet(3), 6))
    first = wrap_skips(randomize(basic_unet(3), 6), slice_dim=-3)
    randomize(first, 7).double().eval()
    last.load_state_dict(with_axes_moved(first).state_dict())
    last.double().eval()
    x = volume("BasicUNet", dtype=torch.float64)
    expected = first(x).movedim(2, -1)
    assert_close(last(x.movedim(2, -1)), expected, EXACT)
    for wrapper in wrappers(last):
        wrapper.attention.slice_dim = -3
    assert not torch.allclose(last(x.movedim(2, -1)), expected, rtol=0.01), "the wrong axis is seen in the output"


def test_wrapped_nets_within_others_are_unwrapped() -> None:
    inner = wrap_skips(plain_conv_unet(3))
    unwrap_skips(nn.Sequential(inner))
    assert not wrappers(inner)
