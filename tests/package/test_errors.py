"""Bad input: every `raise` of the package, with who, expected, got and (where there is one) the remedy."""

import ast
import re
import traceback
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from torch import nn
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn.utils import prune

import crossattn3d
from crossattn3d import CSCA, ChannelCrossAttention3d, SliceCrossAttention3d, UCANet, UNet3d
from crossattn3d._layers.norms import make_norm
from crossattn3d.dropin import AttendedMap, unwrap_skips, wrap_skips
from crossattn3d.functional import GateParameters, gated
from crossattn3d.kernels import reference, softmax
from crossattn3d.kernels.backends import backend_of
from support.messages import rows_for
from support.monai_and_nnunet_nets import basic_unet, segresnet, segresnet_ds, unet
from support.wrong_calls import CALLS, E, U
from support.wrong_nets import NARROW, NET_CALLS, volume

pytestmark = pytest.mark.usefixtures("unchecked")

ROOT = Path(crossattn3d.__file__).parent
#: Tested in test_hub.py and test_export_onnx.py.
ELSEWHERE = {"hub.py", "export.py"}


def replaced(name: str, layer: nn.Module) -> CSCA:
    module = CSCA(3, 4).double()
    module.set_submodule(name, layer.double())
    return module


def with_an_option(module: nn.Module, name: str, value: object) -> None:
    setattr(module, name, value)


def with_skips_that_differ() -> UCANet:
    net = UCANet(1, 2, NARROW)
    net.skips[1].score_norm = "mean"
    return net


def with_a_backend_of_the_environment(name: str) -> None:
    with mock.patch("crossattn3d.kernels.backends.IN_PLACE_OF_AUTO", name):
        CSCA(3)(volume(1, 3, 2, 2, 2), volume(1, 3, 2, 2, 2))


def without_an_upcat() -> nn.Module:
    net = basic_unet(3)
    del net.upcat_2.convs
    return net


def with_one_level() -> nn.Module:
    net = segresnet_ds(3)
    net.up_layers = nn.ModuleList([nn.ModuleDict({"upsample": nn.Identity()})])
    return net


def narrowed(place: str) -> CSCA:
    module = CSCA(3, 4).double()
    module.get_submodule(place).register_forward_hook(lambda module, inputs, output: output[:, :1])
    return module


def recorded_gradient() -> torch.Tensor:
    module, query = CSCA(3).double(), U.clone().requires_grad_()
    program = make_fx(lambda x: torch.autograd.grad(module(x, x).square().sum(), x)[0])(query)
    return program(query)


def pruned() -> nn.Module:
    net = unet(3)
    prune.identity(net.get_submodule("model.2.0.conv"), "weight")
    return net


def derivative_of_a_gate() -> None:
    x, w = torch.rand(1, 3, 2, 3, 4, requires_grad=True), torch.rand(3, 3)
    du, *_ = torch.ops.crossattn3d.gate_backward(x, x, x, x, w, w, w[0], True, "torch")
    du.sum().backward()


# Name: (what is called, what the message must say in this order).
CASES: dict[str, tuple[Callable[[], object], list[str]]] = {
    **CALLS,
    "a backend of the environment": (
        lambda: with_a_backend_of_the_environment("cuda"),
        ["CROSSATTN3D_BACKEND", "expected auto, reference, torch, cpp, triton or nothing", "got 'cuda'", "unset"],
    ),
    "a backend that there is not": (lambda: backend_of("cuda"), ["backend", "expected auto, reference", "got 'cuda'"]),
    # The equations and the layers.
    "a score norm of the equations": (
        lambda: reference.attention_map(torch.rand(1, 2, 5), torch.rand(1, 2, 5), None, "x"),
        ["score_norm", "expected none", "got 'x' and no temperature", "give one of these"],
    ),
    "a score norm of the kernels": (
        lambda: softmax.divisor(softmax.Scores(torch.rand(1, 2, 2), 5, "x")),
        ["score_norm", "expected none", "got 'x' without", "give one of these"],
    ),
    "norm of a layer": (lambda: make_norm("layer", 3), ["make_norm", "expected norm", "'batch'", "got 'layer'"]),
    # The modules.
    "no query channels": (lambda: CSCA(0), ["CSCA", "expected query_channels of 1 or more", "got 0"]),
    "query channels as text": (
        lambda: CSCA("32"),
        ["CSCA", "expected query_channels of 1 or more, a whole number", "got '32'"],
    ),
    "query channels with a point": (lambda: CSCA(32.0), ["CSCA", "query_channels of 1 or more", "got 32.0"]),
    "a class for query channels": (lambda: CSCA(nn.Conv3d), ["CSCA", "query_channels", "got <class", "Conv3d"]),
    "no number for query channels": (lambda: CSCA(None), ["CSCA", "query_channels", "got None"]),
    "True for query channels": (lambda: CSCA(True), ["CSCA", "query_channels", "got True"]),
    "an array for query channels": (lambda: CSCA(np.zeros(2)), ["CSCA", "query_channels", "got array([0., 0.])"]),
    "context channels as text": (
        lambda: ChannelCrossAttention3d(3, "4"),
        ["ChannelCrossAttention3d", "expected context_channels of 1 or more, a whole number", "got '4'"],
    ),
    "residual as text": (
        lambda: CSCA(3, residual="False"),
        ["CSCA", "expected residual to be True or False", "got 'False'"],
    ),
    "module slice_dim as text": (
        lambda: SliceCrossAttention3d(3, slice_dim="d"),
        ["SliceCrossAttention3d", "expected slice_dim", "the int -3, -2 or -1", "got 'd'"],
    ),
    "an array for a query": (
        lambda: CSCA(3)(np.zeros((1, 3, 2, 3, 4)), volume(1, 3, 2, 3, 4)),
        ["CSCA", "expected query as a tensor, (batch, channels,", "got ndarray", "torch.as_tensor"],
    ),
    "a list for a query": (
        lambda: SliceCrossAttention3d(3)([volume(1, 3, 2, 3, 4)], volume(1, 3, 2, 3, 4)),
        ["SliceCrossAttention3d", "expected query as a tensor", "got list", "one by one"],
    ),
    "both maps for a context": (
        lambda: ChannelCrossAttention3d(3)(U, (U, E)),
        ["ChannelCrossAttention3d", "expected context as a tensor", "got tuple", "one by one"],
    ),
    "weights to remove from a pruned layer": (
        lambda: wrap_skips(pruned(), concatenate=False),
        ["wrap_skips", "expected a UNet with plain weights for concatenate=False", "got a ConvTranspose3d", "undo"],
    ),
    "a layer in the place of a half": (
        lambda: setattr(CSCA(3), "slices", nn.Identity()),
        ["CSCA", "expected slices as a module that takes (query, context, attention)", "got Identity (too many", "use"],
    ),
    "nothing in the place of a half": (
        lambda: setattr(CSCA(3), "channel", None),
        ["CSCA", "expected channel as a module", "got NoneType (it is no module)", "SliceCrossAttention3d"],
    ),
    "a half with a hook that narrows its result": (
        lambda: narrowed("channel")(U, E),
        ["CSCA", "expected channel to return (2, 4, 2, 3, 4)", "got (2, 1, 2, 3, 4)", "mend the hook or the layer"],
    ),
    "a layer with a hook that narrows its result": (
        lambda: narrowed("slices.to_out")(U, E),
        ["SliceHalf", "expected to_out to return (2, 4, 2, 3, 4)", "got (2, 1, 2, 3, 4)", "mend the hook or the layer"],
    ),
    "a derivative of a gradient that make_fx recorded": (
        lambda: recorded_gradient().sum().backward(),
        [
            "attend_backward",
            "expected no derivative of a gradient that was recorded",
            "got one",
            "record that derivative",
        ],
    ),
    "no context": (lambda: CSCA(3)(U, None), ["CSCA", "expected context as a tensor", "got NoneType"]),
    "an array to look at": (
        lambda: CSCA(3).attention_maps(U.numpy(), U),
        ["channel_attention_map", "expected query as a tensor", "got ndarray"],
    ),
    "complex maps": (
        lambda: CSCA(3)(U.to(torch.complex64), U),
        ["CSCA", "expected query of floating-point numbers", "got torch.complex64", "convert"],
    ),
    "no context channels": (
        lambda: SliceCrossAttention3d(3, -1),
        ["SliceCrossAttention3d", "expected context_channels of 1 or more", "got -1"],
    ),
    "module score_norm": (
        lambda: ChannelCrossAttention3d(3, score_norm="l2"),
        ["ChannelCrossAttention3d", "expected score_norm", "got 'l2'"],
    ),
    "module backend": (lambda: CSCA(3, backend=None), ["CSCA", "expected backend", "got None"]),
    "module slice_dim": (lambda: CSCA(3, slice_dim=0), ["CSCA", "expected slice_dim", "got 0"]),
    "module residual": (
        lambda: CSCA(3, 4, residual=True),
        ["CSCA", "equal widths for residual=True", "query_channels=3", "context_channels=4", "residual=False"],
    ),
    "a gate for other channels": (
        lambda: gated(U, E, U, GateParameters(torch.rand(3, 3), torch.rand(3, 4), torch.rand(2))),
        ["gated", "expected a gate for each of the mixture's 3 channels", "[3, 3, 2] rows", "give them as many rows"],
    ),
    "a gate that is no module": (
        lambda: with_an_option(CSCA(3, gated=True), "gate", 3),
        ["CSCA", "expected gate as a module that takes (query, context), by gated=True", "got int", "gated=False"],
    ),
    "a derivative of a gate's gradient": (derivative_of_a_gate, ["gate_backward", "no derivative of a gradient"]),
    "a gate of no bool": (lambda: CSCA(3, gated="no"), ["CSCA", "expected gated", "got 'no'"]),
    "a projection to another width": (
        lambda: replaced("channel.to_value", nn.Sequential(nn.Conv3d(4, 5, 1)))(U, E),
        [
            "ChannelHalf",
            "expected to_value to return (2, 4, 2, 3, 4)",
            "got (2, 5, 2, 3, 4)",
            "mend the hook or the layer",
        ],
    ),
    "a projection to another size": (
        lambda: replaced("slices.to_out", nn.Conv3d(1, 4, 1, stride=2))(U, E),
        ["SliceHalf", "expected to_out to return (2, 4, 2, 3, 4)", "got (2, 4, 1, 2, 2)", "mend the hook or the layer"],
    ),
    "a layer that is called, with the arguments exchanged": (
        lambda: replaced("slices.to_key", nn.Sequential(nn.Conv3d(4, 1, 1)))(E, U),
        ["CSCA", "expected a query with 3 channels", "got 4"],
    ),
    "a score_norm that is set": (
        lambda: with_an_option(CSCA(3), "score_norm", "l2"),
        ["CSCA", "expected score_norm", "got 'l2'"],
    ),
    "cosine that is set, without a temperature": (
        lambda: with_an_option(SliceCrossAttention3d(3), "score_norm", "cosine"),
        ["SliceCrossAttention3d", "expected a temperature", "got None", "score_norm='cosine'"],
    ),
    "a residual that is set": (
        lambda: with_an_option(CSCA(3, 4), "residual", True),
        ["CSCA", "equal widths for residual=True", "query_channels=3", "context_channels=4", "residual=False"],
    ),
    "a recompute that is no bool": (
        lambda: with_an_option(CSCA(3), "recompute", "no"),
        ["CSCA", "expected recompute", "got 'no'"],
    ),
    "a residual that is no bool": (lambda: CSCA(3, residual="yes"), ["CSCA", "expected residual", "got 'yes'"]),
    "a width that is set": (
        lambda: with_an_option(CSCA(3), "out_channels", 5),
        ["CSCA", "expected out_channels to stay 3", "got 5", "make a new CSCA"],
    ),
    "an option of a half": (
        lambda: with_an_option(CSCA(3).channel, "score_norm", "mean"),
        ["ChannelHalf", "expected score_norm to be set on the CSCA", "got 'mean'", "csca.score_norm = 'mean'"],
    ),
    "strides that are set": (
        lambda: with_an_option(UCANet(1, 2, NARROW), "strides", ((1, 2, 2),) * 3),
        ["UCANet", "expected strides to stay ((2, 2, 2), (2, 2, 2), (2, 2, 2))", "got ((1, 2, 2)", "new UCANet"],
    ),
    "skips that differ": (
        lambda: with_skips_that_differ().score_norm,
        ["UCANet", "expected one score_norm", "got ['instance', 'mean', 'instance']", "net.score_norm = ..."],
    ),
    "a script of a net": (
        lambda: torch.jit.script(UNet3d(1, 2, NARROW)),
        ["UNet3d", "expected to be traced", "got torch.jit.script", "torch.jit.trace"],
    ),
    "a script of a part": (
        lambda: torch.jit.script(nn.Sequential(CSCA(3))),
        ["CSCA", "expected to be traced", "got torch.jit.script", "torch.jit.trace"],
    ),
    "module called with the arguments exchanged": (
        lambda: CSCA(3, 4).double()(E, U),
        ["CSCA", "expected a query with 3 channels", "got 4"],
    ),
    **NET_CALLS,
    # Other libraries' nets.
    "a net that nobody knows": (
        lambda: wrap_skips(nn.Sequential(nn.Conv3d(1, 2, 1))),
        ["wrap_skips", "expected a net of MONAI or nnU-Net", "got torch's Sequential", "cat([csca(u, e), u])", "docs/"],
    ),
    "a net that was changed": (
        lambda: wrap_skips(without_an_upcat()),
        ["wrap_skips", "expected monai's BasicUNet as", "got another structure", "constraints.txt"],
    ),
    "a wrapped net": (
        lambda: wrap_skips(wrap_skips(basic_unet(3))),
        ["wrap_skips", "expected a net with its own skips", "got one that is wrapped", "unwrap_skips"],
    ),
    "slices of a 2D net": (
        lambda: wrap_skips(basic_unet(2)),
        [
            "wrap_skips",
            "expected a 3D net, or a 2D net with attention='cca'",
            "got a BasicUNet of 2",
            "attention='csca'",
        ],
    ),
    "attention of other nets": (
        lambda: wrap_skips(basic_unet(3), attention="both"),
        ["wrap_skips", "expected attention", "'csca', 'cca', 'sca'", "got 'both'"],
    ),
    "zero without the decoder maps": (
        lambda: wrap_skips(basic_unet(3), zero_init=True, concatenate=False),
        ["wrap_skips", "expected concatenate=True for zero_init=True", "got False", "use one of the two"],
    ),
    "maps that are added": (
        lambda: wrap_skips(segresnet(3), concatenate=False),
        ["wrap_skips", "expected concatenate=True for SegResNet", "adds its maps", "got False", "docs/nets/drop-in.md"],
    ),
    "no skips": (
        lambda: wrap_skips(with_one_level()),
        ["wrap_skips", "expected a SegResNetDS of two or more levels", "got one without skips", "more levels"],
    ),
    "a decoder map that is not joined": (
        lambda: torch.relu(AttendedMap(nn.Identity(), CSCA(3))(U)),
        ["AttendedMap", "expected the net to add or concatenate", "got relu", "unwrap_skips"],
    ),
    "nothing to unwrap": (
        lambda: unwrap_skips(basic_unet(3)),
        ["unwrap_skips", "expected a net that wrap_skips has wrapped", "got BasicUNet without"],
    ),
    "weights that are gone": (
        lambda: unwrap_skips(wrap_skips(basic_unet(3), concatenate=False)),
        ["unwrap_skips", "expected a net wrapped with concatenate=True", "got one whose", "create a new net"],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_says_who_expected_and_got(name):
    call, parts = CASES[name]
    with pytest.raises(ValueError, match=".*".join(map(re.escape, parts))) as caught:
        call()
    assert re.fullmatch(r"\w+: expected .*; ?(f?got|.*; got) .*", str(caught.value)), "who: expected ...; got ..."
    assert "\n" not in str(caught.value)
    assert rows_for(str(caught.value)), "docs/troubleshooting says what helps"


def test_every_raise_is_reached():
    """Each ValueError of the package is the origin of one of the cases above; ELSEWHERE has its own tests."""
    written = {
        (path, node.lineno)
        for path in ROOT.rglob("*.py")
        if path.name not in ELSEWHERE
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Raise) and "ValueError" in ast.unparse(node)
    }
    assert len(written) > 10
    reached = set()
    for call, _ in CASES.values():
        with pytest.raises(ValueError, match="expected") as caught:
            call()
        frame = traceback.extract_tb(caught.value.__traceback__)[-1]
        reached.add((Path(frame.filename), frame.lineno))
    assert written == reached
