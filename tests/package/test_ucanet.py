"""UCA-Net: a U-Net whose skips are cross-attention, and nothing else."""

import copy
import pickle

import pytest
import torch
from torch import nn

from crossattn3d import CSCA, ChannelCrossAttention3d, SliceCrossAttention3d, UCANet, UNet3d
from crossattn3d.functional import SCORE_NORMS
from support.random_parameters import assert_close, generator, normal, randomize

NARROW = (2, 3, 4, 5)
SKIPS = {"csca": CSCA, "cca": ChannelCrossAttention3d, "sca": SliceCrossAttention3d}


def volume(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return normal(shape, generator(0), dtype)


@pytest.mark.parametrize("attention", SKIPS)
def test_is_unet3d_with_one_argument_changed(attention):
    net = randomize(UCANet(1, 3, NARROW, attention=attention), 1).eval()
    plain = UNet3d(1, 3, NARROW, skip=SKIPS[attention]).eval()
    plain.load_state_dict(net.state_dict())
    x = volume(1, 1, 9, 10, 11)
    assert torch.equal(net(x), plain(x))
    assert [type(skip) for skip in net.skips] == [SKIPS[attention]] * 3
    assert [(skip.query_channels, skip.context_channels) for skip in net.skips] == [(2, 2), (3, 3), (4, 4)]
    assert [block[0].in_channels for block in net.decoder] == [2, 3, 4]


def test_options_are_kept_and_reach_every_skip():
    options = {"score_norm": "cosine", "residual": True, "slice_dim": -1, "backend": "reference"}
    net = UCANet(2, 3, NARROW, attention="sca", norm="group", upsample="interpolate", up_norm=True, **options)
    for module in (net, *net.skips):
        assert {name: getattr(module, name) for name in options} == options
    assert (net.attention, net.norm, net.upsample, net.up_norm) == ("sca", "group", "interpolate", True)
    assert (net.in_channels, net.out_channels, net.channels) == (2, 3, NARROW)
    assert all(isinstance(up.norm[0], nn.GroupNorm) and isinstance(up.conv, nn.Conv3d) for up in net.ups)


@pytest.mark.parametrize(
    ("name", "value"), [("score_norm", "mean"), ("residual", False), ("slice_dim", -1), ("backend", "torch")]
)
def test_an_option_of_the_net_is_that_of_its_skips(name, value):
    net = randomize(UCANet(1, 2, NARROW), 1).eval()
    other = UCANet(1, 2, NARROW, **{name: value}).eval()
    other.load_state_dict(net.state_dict())
    setattr(net, name, value)
    assert [getattr(skip, name) for skip in net.skips] == [value] * 3
    assert torch.equal(net(volume(1, 1, 8, 9, 10)), other(volume(1, 1, 8, 9, 10)))
    for skip in net.skips:
        setattr(skip, name, getattr(UCANet(1, 2, NARROW), name))
    assert getattr(net, name) == getattr(UCANet(1, 2, NARROW), name)


def test_an_option_in_which_the_skips_differ_is_none_of_the_net():
    net = UCANet(1, 2, NARROW)
    net.skips[2].slice_dim = -2
    with pytest.raises(ValueError, match=r"expected one slice_dim in all skips; got \[-3, -3, -2\]"):
        _ = net.slice_dim
    net.slice_dim = -1
    assert net.slice_dim == net.skips[2].slice_dim == -1
    net.skips[0] = nn.Identity()
    with pytest.raises(ValueError, match=r"expected one backend in all skips; got \[None, 'auto', 'auto'\]"):
        _ = net.backend


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("attention", "cca"),
        ("channels", (2, 3, 4, 6)),
        ("strides", ((1, 2, 2), (2, 2, 2), (2, 2, 2))),
        ("kernel_sizes", ((1, 3, 3),) * 4),
        ("norm", "group"),
        ("upsample", "interpolate"),
        ("up_norm", True),
    ],
)
def test_what_the_layers_were_made_for_stays(name, value):
    net = UCANet(1, 2, NARROW)
    made_with = getattr(net, name)
    with pytest.raises(ValueError, match=f"UCANet: expected {name} to stay .*; make a new UCANet"):
        setattr(net, name, value)
    assert getattr(net, name) == made_with
    setattr(net, name, made_with)


def test_defaults():
    net = UCANet(1, 2)
    assert net.channels == (32, 64, 128, 256)
    assert (net.attention, net.score_norm, net.residual, net.slice_dim) == ("csca", "instance", True, -3)
    assert (net.norm, net.upsample, net.up_norm, net.backend) == ("batch", "transposed", False, "auto")


@pytest.mark.parametrize("score_norm", SCORE_NORMS)
def test_both_backends_agree(score_norm):
    net = randomize(UCANet(1, 2, NARROW, score_norm=score_norm, residual=True), 2).double()
    x = volume(2, 1, 9, 10, 11, dtype=torch.float64)
    results = []
    for backend in ("reference", "torch"):
        for skip in net.skips:
            skip.backend = backend
        out = net(x)
        results.append((out, *torch.autograd.grad(out.square().sum(), list(net.parameters()))))
    for actual, expected in zip(*results, strict=True):
        assert_close(actual, expected, 1e-7)


def test_slices_last():
    """A net that counts slices in the last dimension is the other one with everything transposed."""
    first = randomize(UCANet(1, 2, NARROW), 3).double().eval()
    last = UCANet(1, 2, NARROW, slice_dim=-1).double().eval()
    last.load_state_dict({k: v.transpose(2, 4) if v.ndim == 5 else v for k, v in first.state_dict().items()})
    x = volume(1, 1, 9, 10, 13, dtype=torch.float64)
    assert_close(last(x.transpose(2, 4)).transpose(2, 4), first(x), 1e-10)
    unmoved = copy.deepcopy(first)
    for skip in unmoved.skips:
        skip.slice_dim = -1
    assert (unmoved(x) - first(x)).abs().max() > 1e-6


def test_the_residual_lets_the_decoder_through():
    with_it, without = randomize(UCANet(1, 2, NARROW), 3), UCANet(1, 2, NARROW, residual=False)
    without.load_state_dict(with_it.state_dict())
    x = volume(1, 1, 9, 10, 11)
    assert not torch.allclose(with_it.eval()(x), without.eval()(x), atol=1e-4)


@pytest.mark.parametrize("attention", SKIPS)
def test_every_parameter_learns(attention):
    net = randomize(UCANet(1, 2, NARROW, attention=attention, score_norm="cosine"), 4)
    net(volume(2, 1, 9, 10, 11)).square().sum().backward()
    gradients = {name: p.grad for name, p in net.named_parameters()}
    assert all(g is not None and torch.isfinite(g).all() for g in gradients.values())
    assert all(g.abs().max() > 0 for name, g in gradients.items() if ".to_" in name or "temperature" in name)


@pytest.mark.parametrize("attention", SKIPS)
def test_names_have_no_duplicates(attention):
    net = UCANet(1, 2, NARROW, attention=attention)
    assert len(list(net.named_parameters(remove_duplicate=False))) == len(list(net.parameters()))
    assert {key.split(".")[0] for key in net.state_dict()} == {"encoder", "ups", "skips", "decoder", "head"}
    assert len({value.data_ptr() for value in net.state_dict().values()}) == len(net.state_dict())


def test_state_dict_round_trip_and_copies():
    net = randomize(UCANet(1, 2, NARROW, score_norm="cosine"), 5).eval()
    x = volume(1, 1, 9, 10, 11)
    other = UCANet(1, 2, NARROW, score_norm="cosine").eval()
    assert not torch.equal(other(x), net(x))
    other.load_state_dict(net.state_dict())
    for same in (other, copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert torch.equal(same(x), net(x))


def test_one_odd_volume_in_eval_and_in_channels_last():
    net = randomize(UCANet(1, 2, NARROW), 6).double().eval()
    x = volume(1, 1, 9, 11, 13, dtype=torch.float64)
    expected = net(x)
    assert expected.shape == (1, 2, 9, 11, 13)
    net = net.to(memory_format=torch.channels_last_3d)
    assert_close(net(x.contiguous(memory_format=torch.channels_last_3d)), expected, 1e-12)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_dtypes(dtype):
    net = randomize(UCANet(1, 2, (2, 3)), 7).eval()
    x = volume(1, 1, 4, 5, 6)
    out = copy.deepcopy(net).to(dtype)(x.to(dtype))
    assert out.dtype == dtype
    assert_close(out.float(), net(x), 0.1 if dtype == torch.bfloat16 else 1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_trains(dtype):
    net = randomize(UCANet(1, 2, (2, 3)), 8)
    x = volume(2, 1, 4, 5, 6)
    with torch.autocast("cpu", dtype):
        out = net(x)
    out.float().square().mean().backward()
    assert out.dtype == dtype
    assert_close(out.float(), net(x), 0.2)
    assert all(torch.isfinite(p.grad).all() for p in net.parameters())


def test_anisotropic_plan():
    net = UCANet(1, 2, (2, 3, 4), strides=[(1, 2, 2), 2], kernel_sizes=[(1, 3, 3), 3, 3]).eval()
    assert net.strides == ((1, 2, 2), (2, 2, 2))
    assert net.kernel_sizes == ((1, 3, 3), (3, 3, 3), (3, 3, 3))
    assert net(volume(1, 1, 3, 9, 10)).shape == (1, 2, 3, 9, 10)
