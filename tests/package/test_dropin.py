"""CSCA in other libraries' nets: what the blocks get, what stays as it was, and what the wrapped nets survive."""

import copy
import io
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from crossattn3d import CSCA, ChannelCrossAttention3d, SliceCrossAttention3d
from crossattn3d.dropin import AttendedBlock, unwrap_skips, wrap_skips
from support import SUPPORT
from support.monai_and_nnunet_nets import OTHER_NETS, basic_unet, plain_conv_unet, unet
from support.random_parameters import assert_close, generator, normal, randomize

#: Of float64: the order of sums over a few thousand voxels may differ.
EXACT = 1e-12
SIZES = {2: (32, 48), 3: (16, 32, 48)}


def volume(dimensions: int = 3, batch: int = 1, dtype: torch.dtype = torch.float32) -> Tensor:
    return normal((batch, 1, *SIZES[dimensions]), generator(0), dtype)


def wrappers(net: nn.Module) -> list[AttendedBlock]:
    return [module for module in net.modules() if isinstance(module, AttendedBlock)]


def first_convolution(block: AttendedBlock) -> nn.Module:
    return next(m for m in block.block.modules() if isinstance(m, nn.modules.conv._ConvNd))


def seen_in_forward(net: nn.Module, x: Tensor, names: list[str]) -> dict[str, Tensor]:
    """Return the output of each named module, and the input of each wrapped block as `into 0`, ..."""
    seen: dict[str, Tensor] = {}
    hooks = [
        net.get_submodule(name).register_forward_hook(lambda _m, _i, out, name=name: seen.update({name: out}))
        for name in names
    ]
    hooks += [
        wrapper.block.register_forward_pre_hook(
            lambda block, inputs: seen.update({f"into {sum(k.startswith('into') for k in seen)}": (block, inputs[0])})
        )
        for wrapper in wrappers(net)
    ]
    net(x)
    for hook in hooks:
        hook.remove()
    return seen


def logits(net: nn.Module, x: Tensor) -> list[Tensor]:
    out = net(x)
    return out if isinstance(out, list) else [out]


@pytest.mark.parametrize("concatenate", [True, False])
@pytest.mark.parametrize("name", OTHER_NETS)
def test_the_blocks_get_the_attended_encoder_maps(name: str, concatenate: bool) -> None:
    make, decoder, encoder, encoder_first, slice_dim = OTHER_NETS[name]
    net = randomize(wrap_skips(make(3), concatenate=concatenate), 1).double().eval()
    seen = seen_in_forward(net, volume(dtype=torch.float64), decoder + encoder)
    assert len(wrappers(net)) == len(decoder)
    for i, (u, e) in enumerate(zip(decoder, encoder, strict=True)):
        block, given = seen[f"into {i}"]
        wrapper = next(w for w in wrappers(net) if w.block is block)
        assert type(wrapper.attention) is CSCA
        assert wrapper.attention.slice_dim == slice_dim
        attended = wrapper.attention(seen[u], seen[e])
        joined = [attended, seen[u]] if encoder_first else [seen[u], attended]
        expected = torch.cat(joined, dim=1) if concatenate else attended
        assert_close(given, expected, EXACT)
        assert first_convolution(wrapper).in_channels == expected.shape[1]


@pytest.mark.parametrize("name", OTHER_NETS)
def test_starts_as_the_net_was_and_goes_back(name: str) -> None:
    original = randomize(OTHER_NETS[name].make(3), 2).eval()
    before, kept = logits(original, volume()), copy.deepcopy(original.state_dict())
    net = wrap_skips(original, zero_init=True)
    assert net is original
    after = logits(net, volume())
    assert all(torch.equal(a, b) for a, b in zip(after, before, strict=True))
    assert set(net.state_dict()) != set(kept)
    with torch.no_grad():
        for wrapper in wrappers(net):
            wrapper.gate.fill_(0.5)
    assert not torch.allclose(logits(net, volume())[0], before[0], rtol=0.01)
    assert unwrap_skips(net) is net
    assert list(net.state_dict()) == list(kept)
    assert all(torch.equal(a, b) for a, b in zip(logits(net, volume()), before, strict=True))
    wrap_skips(net)


@pytest.mark.parametrize("name", OTHER_NETS)
def test_zero_init_leaves_zero_when_trained(name: str) -> None:
    net = wrap_skips(randomize(OTHER_NETS[name].make(3), 3), zero_init=True)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        sum(out.square().mean() for out in logits(net, volume(batch=2))).backward()
        optimizer.step()
    for wrapper in wrappers(net):
        assert wrapper.gate.item() != 0
        # Biases of keys change no score after instance normalization; the weights of all projections count.
        weights = [p for key, p in wrapper.attention.named_parameters() if key.endswith("weight")]
        assert all(p.grad is not None and p.grad.abs().max() > 0 for p in weights)


@pytest.mark.parametrize("name", OTHER_NETS)
def test_parameters_are_registered_and_survive_copying(name: str) -> None:
    make = OTHER_NETS[name].make
    plain, net = make(3), randomize(wrap_skips(make(3), score_norm="cosine"), 4).eval()
    new = sum(p.numel() for wrapper in wrappers(net) for p in wrapper.attention.parameters())
    assert sum(p.numel() for p in net.parameters()) == sum(p.numel() for p in plain.parameters()) + new
    with torch.no_grad():  # DynUNet keeps its last outputs, which cannot be copied if they have gradients
        expected = logits(net, volume())

    loaded = wrap_skips(make(3), score_norm="cosine").eval()
    file = io.BytesIO()
    torch.save(net.state_dict(), file)
    file.seek(0)
    loaded.load_state_dict(torch.load(file, weights_only=True))
    twins = [copy.deepcopy(net), loaded]
    if name != "ResidualEncoderUNet":  # cannot be pickled, wrapped or not: it keeps a lambda
        twins.append(pickle.loads(pickle.dumps(net)))
    for twin in twins:
        randomize(net, 5)  # what is shared with the twin would change it
        assert all(torch.equal(a, b) for a, b in zip(logits(twin, volume()), expected, strict=True))
        randomize(net, 4)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("BasicUNet", {"features": (3, 4, 5, 6, 8, 7), "upsample": "pixelshuffle"}),
        ("BasicUNet", {"features": (3, 4, 5, 6, 8, 7), "upsample": "nontrainable"}),
        ("UNet", {"channels": (3, 4, 6), "strides": (2, (1, 2, 2)), "act": "relu", "norm": "batch"}),
        ("UNet", {"channels": (3, 4), "strides": (2,), "num_res_units": 2}),
        (
            "DynUNet",
            {
                "kernel_size": [3, 3, 3],
                "strides": [1, 2, 2],
                "upsample_kernel_size": [2, 2],
                "filters": (3, 4, 5),
                "res_block": True,
            },
        ),
    ],
)
def test_other_options_of_these_nets(name: str, options: dict) -> None:
    """Sizes that MONAI pads where it joins maps work, too: the attention gets maps of one size."""
    kind = getattr(pytest.importorskip("monai.networks.nets"), name)
    x = normal((1, 1, 18, 33, 50) if name == "BasicUNet" else (1, 1, 16, 32, 48), generator(0), torch.float32)
    net = randomize(kind(3, 1, 2, **options), 11).eval()
    before = net(x)
    assert torch.equal(wrap_skips(net, zero_init=True)(x), before)
    assert wrap_skips(unwrap_skips(net), concatenate=False)(x).shape == before.shape


@pytest.mark.parametrize("attention", ["csca", "cca", "sca"])
def test_options_reach_every_skip(attention: str) -> None:
    net = wrap_skips(basic_unet(3), attention=attention, score_norm="mean", slice_dim=-2, backend="reference")
    kinds = {"csca": CSCA, "cca": ChannelCrossAttention3d, "sca": SliceCrossAttention3d}
    for wrapper in wrappers(net):
        assert type(wrapper.attention) is kinds[attention]
        skip = wrapper.attention
        assert (skip.score_norm, skip.slice_dim, skip.backend) == ("mean", -2, "reference")
    assert "encoder_first=True" in repr(net)


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
    x = volume(dtype=torch.float64)
    expected = first(x).movedim(2, -1)
    assert_close(last(x.movedim(2, -1)), expected, EXACT)
    for wrapper in wrappers(last):
        wrapper.attention.slice_dim = -3
    assert not torch.allclose(last(x.movedim(2, -1)), expected, rtol=0.01), "the wrong axis is seen in the output"


@pytest.mark.parametrize("name", OTHER_NETS)
def test_2d_nets_take_channel_attention(name: str) -> None:
    make, decoder, encoder, encoder_first, _ = OTHER_NETS[name]
    net = randomize(wrap_skips(make(2), attention="cca"), 8).double().eval()
    seen = seen_in_forward(net, volume(2, dtype=torch.float64), decoder + encoder)
    u, e = seen[decoder[0]], seen[encoder[0]]
    block, given = seen["into 0"]
    wrapper = next(w for w in wrappers(net) if w.block is block)
    attended = wrapper.attention(u[:, :, None], e[:, :, None])[:, :, 0]
    assert_close(given, torch.cat([attended, u] if encoder_first else [u, attended], dim=1), EXACT)


def test_a_subclass_is_not_taken_for_what_it_inherits() -> None:
    kind = type(unet(3))

    class Sum(kind):
        def forward(self, x: Tensor) -> Tensor:
            return x + self.model(x)

    with pytest.raises(
        ValueError, match=r"wrap_skips: expected a net of MONAI or nnU-Net, one of BasicUNet, .*; got .*Sum"
    ):
        wrap_skips(Sum(3, 1, 2, channels=(3, 4), strides=(2,)))


def test_anything_else_is_left_as_it_was() -> None:
    net = nn.Sequential(nn.Conv3d(1, 2, 1))
    with pytest.raises(ValueError, match=r"one of .*PlainConvUNet.*; got torch's Sequential; .*cat\(\[csca"):
        wrap_skips(net)
    broken = basic_unet(3)
    del broken.upcat_2.convs
    with pytest.raises(ValueError, match="got another structure"):
        wrap_skips(broken)
    assert not wrappers(broken)


def test_monai_volumes_with_their_affine() -> None:
    data = pytest.importorskip("monai.data")
    net = randomize(wrap_skips(basic_unet(3)), 9).eval()
    out = net(data.MetaTensor(volume()))
    assert isinstance(out, data.MetaTensor)
    assert torch.equal(out.as_tensor(), net(volume()))


def test_mixed_precision() -> None:
    net = randomize(wrap_skips(basic_unet(3), zero_init=True), 10)
    with torch.autocast("cpu", torch.bfloat16):
        out = net(volume())
    assert torch.isfinite(out).all()
    out.float().square().mean().backward()
    assert all(torch.isfinite(p.grad).all() for p in net.parameters())


def test_wrapped_nets_within_others_are_unwrapped() -> None:
    inner = wrap_skips(plain_conv_unet(3))
    unwrap_skips(nn.Sequential(inner))
    assert not wrappers(inner)


DISTRIBUTED = """
import sys
import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel
from crossattn3d.dropin import wrap_skips
from support.monai_and_nnunet_nets import OTHER_NETS

rank, place, name = int(sys.argv[1]), *sys.argv[2:]
torch.set_num_threads(1)
torch.manual_seed(0)
distributed.init_process_group("gloo", f"file://{place}", rank=rank, world_size=2)
alone = wrap_skips(OTHER_NETS[name].make(3), zero_init=True).double()
for key, parameter in alone.named_parameters():
    if key.endswith("gate"):
        torch.nn.init.constant_(parameter, 0.5)
together = DistributedDataParallel(alone)
x = torch.randn(4, 1, 16, 32, 48, dtype=torch.float64)

def loss(net, x):
    out = net(x)
    return sum(o.square().mean() for o in (out if isinstance(out, list) else [out]))

expected = torch.autograd.grad(loss(alone, x), list(alone.parameters()))
loss(together, x[2 * rank : 2 * rank + 2]).backward()
for (key, parameter), gradient in zip(alone.named_parameters(), expected):
    torch.testing.assert_close(parameter.grad, gradient, rtol=1e-9, atol=1e-12, msg=key)
distributed.destroy_process_group()
print("the same", len(expected))
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["BasicUNet", "PlainConvUNet"])
def test_two_processes_have_the_gradients_of_one(name: str, tmp_path: Path) -> None:
    OTHER_NETS[name].make(3)  # skips if its library is missing
    here = SUPPORT.parent
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(here.parent / "src"), str(here)])}
    words = [[sys.executable, "-c", DISTRIBUTED, str(rank), str(tmp_path / "meet"), name] for rank in (0, 1)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "env": environment}
    processes = [subprocess.Popen(line, **pipes) for line in words]
    for process in processes:
        out, error = process.communicate()
        assert process.returncode == 0, error[-2000:]
        assert out.startswith("the same ")
