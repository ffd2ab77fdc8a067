"""Nets that cannot be wrapped: the error says what the net is, why that does not go, and where to read on."""

import copy
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune

from crossattn3d import CSCA, UCANet
from crossattn3d.dropin import AttendedMap, unwrap_skips, wrap_skips
from crossattn3d.dropin.nets import KNOWN
from support.monai_and_nnunet_nets import OTHER_NETS, basic_unet, segresnet, segresnet_ds, unet, vnet

pytestmark = pytest.mark.usefixtures("unchecked")


def monai(name: str, *arguments: object, **options: object) -> nn.Module:
    return getattr(pytest.importorskip("monai.networks.nets"), name)(*arguments, **options)


def subclass() -> nn.Module:
    kind = type(unet(3))

    class Sum(kind):
        def forward(self, x: Tensor) -> Tensor:
            return x + self.model(x)

    return Sum(3, 1, 2, channels=(3, 4), strides=(2,))


def sharded() -> nn.Module:
    """A net as fully_shard leaves it: of a class of its own, named for the one that it was made from."""
    net = unet(3)
    net.__class__ = type("FSDPUNet", (type(net),), {})
    return net


def without_an_upcat() -> nn.Module:
    net = basic_unet(3)
    del net.upcat_2.convs
    return net


def with_another_upsampling() -> nn.Module:
    net = segresnet(3)
    net.up_samples[1] = nn.Identity()
    return net


def with_other_widths() -> nn.Module:
    net = unet(3)
    net.channels = (3, 5, 6)
    return net


BY_HAND = "change its forward to cat([csca(u, e), u]) yourself"

#: Name: (a net, what the message must say in this order after "got").
REFUSED: dict[str, tuple[Callable[[], nn.Module], list[str]]] = {
    "a layer": (lambda: nn.Linear(2, 3), ["torch's Linear, which is not known here", BY_HAND]),
    "a subclass": (
        subclass,
        ["Sum, a subclass of UNet, which may join its maps in another way", "plain UNet", BY_HAND],
    ),
    "an encoder": (
        lambda: monai("DenseNet121", 3, 1, 2),
        ["monai's DenseNet121, which has no decoder that gets encoder maps", "take a U-Net"],
    ),
    "a regressor": (lambda: monai("Regressor", (1, 8, 8, 8), (1,), (2,), (2,)), ["Regressor, which has no decoder"]),
    "a transformer": (lambda: monai("ViT", 1, (16, 16), (8, 8), 12, 16, 1, 2, spatial_dims=2), ["ViT, which has no"]),
    "an autoencoder": (lambda: monai("AutoEncoder", 3, 1, 2, (4, 8), (2, 2)), ["AutoEncoder, which has no decoder"]),
    "one derived from an autoencoder": (
        lambda: monai("VarAutoEncoder", 3, (1, 8, 8, 8), 1, 2, (4, 8), (2, 2)),
        ["VarAutoEncoder, which has no decoder"],
    ),
    "registration": (lambda: monai("RegUNet", 3, 1, 2, 2), ["monai's RegUNet, which registers pairs", BY_HAND]),
    "crops": (lambda: monai("HoVerNet"), ["monai's HoVerNet, which crops the maps that it adds", BY_HAND]),
    "our own net": (lambda: UCANet(1, 2, (2, 3)), ["crossattn3d's UCANet, whose skips are an argument", "skip=CSCA"]),
    "parallel": (
        lambda: nn.DataParallel(unet(3)),
        ["torch's DataParallel, a wrapper of UNet", "call wrap_skips on the net before it is wrapped"],
    ),
    "compiled": (
        lambda: torch.compile(segresnet(3)),
        ["torch's OptimizedModule, a wrapper of SegResNet", "call wrap_skips on the net before it is wrapped"],
    ),
    "sharded": (sharded, ["FSDPUNet, which is sharded", "call wrap_skips before fully_shard"]),
    "traced": (
        lambda: torch.jit.trace(nn.Conv3d(1, 1, 1), torch.zeros(1, 1, 1, 1, 1)),
        ["TopLevelTracedModule, whose code is fixed", "before it is traced"],
    ),
    "symbolically traced": (lambda: torch.fx.symbolic_trace(nn.Sequential(nn.ReLU())), ["whose code is fixed"]),
    "a part": (
        lambda: nn.Sequential(nn.ReLU(), nn.Sequential(unet(3))),
        ["torch's Sequential, which contains a UNet", "call wrap_skips on that, net.get_submodule('1.0')"],
    ),
}


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
@pytest.mark.parametrize("name", REFUSED)
def test_the_reason_of_each_net(name: str) -> None:
    make, parts = REFUSED[name]
    message = ".*".join(
        ["wrap_skips: expected a net of MONAI or nnU-Net, one of BasicUNet,", "; got ", "docs/nets/drop-in.md"]
    )
    with pytest.raises(ValueError, match=message) as caught:
        wrap_skips(make())
    assert re.search(".*".join(map(re.escape, ["; got ", *parts])), str(caught.value))
    assert "\n" not in str(caught.value)


def test_the_page_lists_the_nets_that_the_error_names() -> None:
    page = (Path(__file__).parents[2] / "docs" / "nets" / "drop-in.md").read_text()
    assert {name for _, name in KNOWN} == set(OTHER_NETS) <= set(re.findall(r"`(\w+)`", page))


@pytest.mark.parametrize("make", [without_an_upcat, with_another_upsampling, with_other_widths])
def test_a_net_that_was_changed_is_left_as_it_is(make: Callable[[], nn.Module]) -> None:
    net = make()
    before = copy.deepcopy(net.state_dict())
    with pytest.raises(
        ValueError, match=r"expected monai's \w+ as its tested versions build it; got another structure"
    ):
        wrap_skips(net)
    assert list(net.state_dict()) == list(before)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"attention": None}, "expected attention to be one of 'csca', 'cca', 'sca'; got None"),
        ({"slice_dim": "d"}, "expected slice_dim to be a spatial dimension, .*; got 'd'"),
        ({"slice_dim": 1}, "expected slice_dim to be a spatial dimension, .*; got 1"),
        ({"backend": None}, "expected backend to be one of 'auto', .*; got None"),
        ({"score_norm": "softmax"}, "expected score_norm to be one of .*; got 'softmax'"),
        ({"zero_init": "no"}, "expected zero_init to be True or False; got 'no'"),
        ({"concatenate": 0}, "expected concatenate to be True or False; got 0"),
        ({"zero_init": True, "concatenate": False}, "expected concatenate=True for zero_init=True; got False, .*; use"),
    ],
)
def test_options(options: dict, message: str) -> None:
    net = basic_unet(3)
    before = list(net.state_dict())
    with pytest.raises(ValueError, match=f"^wrap_skips: {message}"):
        wrap_skips(net, **options)
    assert list(net.state_dict()) == before


@pytest.mark.parametrize("name", [name for name, other in OTHER_NETS.items() if other.takes is not None])
def test_nets_that_add_keep_their_decoder_maps(name: str) -> None:
    net = OTHER_NETS[name].make(2)
    reason = "adds its concatenation to what" if name == "VNet" else "adds its maps, so that"
    with pytest.raises(
        ValueError, match=rf"expected concatenate=True for {name}, which {reason}.*; got False; .*docs/"
    ):
        wrap_skips(net, attention="cca", concatenate=False)
    assert not any(isinstance(module, AttendedMap) for module in net.modules())


@pytest.mark.parametrize("make", [basic_unet, segresnet, vnet])
@pytest.mark.parametrize("attention", ["csca", "sca"])
def test_2d_nets_have_no_slices(make: Callable[[int], nn.Module], attention: str) -> None:
    message = rf"expected a 3D net, or a 2D net with attention='cca', .*; got a \w+ of 2 .* attention='{attention}'; ch"
    with pytest.raises(ValueError, match=message):
        wrap_skips(make(2), attention=attention)


def test_1d_nets() -> None:
    with pytest.raises(ValueError, match=r"expected a 3D net, or a 2D net .*; got a BasicUNet of 1 dimensions"):
        wrap_skips(basic_unet(1), attention="cca")


def test_one_level_has_no_skips() -> None:
    with pytest.raises(
        ValueError, match="expected a SegResNetDS of two or more levels; got one without skips; give it"
    ):
        wrap_skips(monai("SegResNetDS", 3, 4, 1, 2, blocks_down=(1,)))


@pytest.mark.parametrize("net", [None, 3, "unet", [nn.Identity()]])
@pytest.mark.parametrize("function", [wrap_skips, unwrap_skips])
def test_no_net_at_all(function: Callable[[object], nn.Module], net: object) -> None:
    kind = type(net).__name__
    with pytest.raises(
        ValueError, match=rf"^{function.__name__}: expected a net, a torch\.nn\.Module; got {kind}; give"
    ):
        function(net)


@pytest.mark.parametrize("function", [wrap_skips, unwrap_skips])
def test_a_class(function: Callable[[object], nn.Module]) -> None:
    with pytest.raises(
        ValueError, match=rf"^{function.__name__}: expected a net; got the class UCANet; .*UCANet\(\.\.\.\)"
    ):
        function(UCANet)


def test_twice() -> None:
    for make in (unet, segresnet_ds):
        with pytest.raises(
            ValueError, match="expected a net with its own skips; got one that is wrapped; call unwrap_sk"
        ):
            wrap_skips(wrap_skips(make(3)))


def test_what_is_not_wrapped_is_not_unwrapped() -> None:
    with pytest.raises(ValueError, match=r"^unwrap_skips: expected a net that .* has wrapped; got SegResNet without$"):
        unwrap_skips(segresnet(3))


@pytest.mark.parametrize(
    ("use", "name"),
    [
        (torch.relu, "relu"),
        (lambda u: u + 1, "add"),
        (lambda u: u + u, "add"),
        (lambda u: torch.cat([u, torch.zeros(1, 2, 2, 3, 4), torch.zeros(1, 2, 2, 3, 4)], 1), "cat"),
        (lambda u: torch.stack([u, torch.zeros(1, 2, 2, 3, 4)]), "stack"),
        (lambda u: nn.Conv3d(2, 3, 1)(u), "conv3d"),
    ],
)
def test_a_net_that_does_something_else_with_its_decoder_map(use: Callable[[object], object], name: str) -> None:
    up = AttendedMap(nn.Identity(), CSCA(2))
    message = (
        f"^AttendedMap: expected the net to add or concatenate one encoder map to the decoder map; got {name}; undo"
    )
    with pytest.raises(ValueError, match=message):
        use(up(torch.zeros(1, 2, 2, 3, 4)))


def test_maps_are_joined_in_the_order_of_the_net() -> None:
    torch.manual_seed(0)
    u, e = torch.randn(1, 2, 2, 3, 4), torch.randn(1, 3, 2, 3, 4)
    up = AttendedMap(nn.Identity(), CSCA(2, 3))
    attended = up.attention(u, e)
    assert torch.equal(torch.cat((up(u), e), 1), torch.cat((u, attended), 1))
    assert torch.equal(torch.concat([e, up(u)], dim=1), torch.cat((attended, u), 1))
    same = AttendedMap(nn.Identity(), CSCA(3, 3))
    assert torch.equal(same(e) + e.flip(0, -1), e + same.attention(e, e.flip(0, -1)))
    assert torch.equal(e.flip(0, -1) + same(e), same.attention(e, e.flip(0, -1)) + e)
    total = same(e)
    total += e
    assert torch.equal(total, e + same.attention(e, e))


@pytest.mark.parametrize(
    "change", [parametrizations.weight_norm, lambda layer: prune.random_unstructured(layer, "weight", 0.3)]
)
def test_weights_that_are_computed_cannot_be_removed(change: Callable[[nn.Module], object]) -> None:
    net = basic_unet(3)
    change(net.upcat_3.convs.conv_0.conv)
    before = copy.deepcopy(net.state_dict())
    message = (
        r"expected a BasicUNet with plain weights for concatenate=False, .*; got a \w*Conv3d whose weight .*; undo"
    )
    with pytest.raises(ValueError, match=message):
        wrap_skips(net, concatenate=False)
    torch.testing.assert_close(net.state_dict(), before, rtol=0, atol=0)
    assert wrap_skips(net) is net
