"""Bad input: every `raise` of the package, with who, expected, got and (where there is one) the remedy."""

import ast
import re
import traceback
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import pytest
import torch
from torch import nn

import crossattn3d
from crossattn3d import CSCA, ChannelCrossAttention3d, SliceCrossAttention3d, UCANet, UNet3d
from crossattn3d.dropin import unwrap_skips, wrap_skips
from crossattn3d.folding import fold_batch_norm
from support.monai_and_nnunet_nets import basic_unet
from support.wrong_calls import CALLS, E, U

pytestmark = pytest.mark.usefixtures("unchecked")

ROOT = Path(crossattn3d.__file__).parent
#: Tested in test_hub.py and test_export_onnx.py.
ELSEWHERE = {"hub.py", "export.py"}
NARROW = (2, 3, 4, 5)


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


def supervised_without_heads() -> UCANet:
    net = UCANet(1, 2, NARROW)
    net.deep_supervision = True
    return net


def with_a_backend_of_the_environment(name: str) -> None:
    with mock.patch("crossattn3d.kernels.backends.IN_PLACE_OF_AUTO", name):
        CSCA(3)(volume(1, 3, 2, 2, 2), volume(1, 3, 2, 2, 2))


def without_an_upcat() -> nn.Module:
    net = basic_unet(3)
    del net.upcat_2.convs
    return net


def volume(*shape: int) -> torch.Tensor:
    return torch.zeros(shape)


# Name: (what is called, what the message must say in this order).
CASES: dict[str, tuple[Callable[[], object], list[str]]] = {
    **CALLS,
    "a backend of the environment": (
        lambda: with_a_backend_of_the_environment("cuda"),
        ["CROSSATTN3D_BACKEND", "expected auto, reference, torch, cpp, triton or nothing", "got 'cuda'", "unset"],
    ),
    # The modules.
    "no query channels": (lambda: CSCA(0), ["CSCA", "expected query_channels of 1 or more", "got 0"]),
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
    "a projection to another width": (
        lambda: replaced("channel.to_value", nn.Sequential(nn.Conv3d(4, 5, 1)))(U, E),
        ["ChannelHalf", "expected to_value to return (2, 4, 2, 3, 4)", "got (2, 5, 2, 3, 4)", "1x1x1"],
    ),
    "a projection to another size": (
        lambda: replaced("slices.to_out", nn.Conv3d(1, 4, 1, stride=2))(U, E),
        ["SliceHalf", "expected to_out to return (2, 4, 2, 3, 4)", "got (2, 4, 1, 2, 2)", "1x1x1"],
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
        ["expected a query with 3 channels", "got 4"],
    ),
    # The nets: options, plans, skips, input.
    "one level": (lambda: UNet3d(1, 2, (8,)), ["UNet3d", "expected channels of two or more levels", "got (8,)"]),
    "a level of width 0": (lambda: UNet3d(1, 2, (8, 0)), ["UNet3d", "each 1 or more", "got (8, 0)"]),
    "norm": (
        lambda: UNet3d(1, 2, NARROW, norm="layer"),
        ["UNet3d", "expected norm", "'batch', 'instance', 'group'", "got 'layer'"],
    ),
    "upsample": (
        lambda: UNet3d(1, 2, NARROW, upsample="nearest"),
        ["UNet3d", "expected upsample", "'transposed', 'interpolate'", "got 'nearest'"],
    ),
    "attention": (
        lambda: UCANet(1, 2, NARROW, attention="both"),
        ["UCANet", "expected attention", "'csca', 'cca', 'sca'", "got 'both'"],
    ),
    "net score_norm": (lambda: UCANet(1, 2, NARROW, score_norm="x"), ["CSCA", "expected score_norm", "got 'x'"]),
    "too few strides": (
        lambda: UNet3d(1, 2, NARROW, strides=(2, 2)),
        ["UNet3d", "expected strides with 3 entries", "got (2, 2)"],
    ),
    "a stride of two numbers": (
        lambda: UNet3d(1, 2, NARROW, strides=(2, (1, 2), 2)),
        ["expected strides with 3 entries", "(d, h, w)", "got (2, (1, 2), 2)"],
    ),
    "a stride of 0": (lambda: UNet3d(1, 2, NARROW, strides=(2, 0, 2)), ["strides", "1 or more", "got (2, 0, 2)"]),
    "too many kernels": (
        lambda: UCANet(1, 2, (2, 3), kernel_sizes=(3, 3, 3)),
        ["UCANet", "expected kernel_sizes with 2 entries", "got (3, 3, 3)"],
    ),
    "an even kernel": (
        lambda: UNet3d(1, 2, (2, 3), kernel_sizes=(3, (3, 2, 3))),
        ["UNet3d", "expected odd kernel_sizes", "got ((3, 3, 3), (3, 2, 3))"],
    ),
    "a kernel smaller than the stride": (
        lambda: UNet3d(1, 2, (2, 3), kernel_sizes=((1, 3, 3), 3)),
        ["no smaller than strides", "kernel (1, 3, 3) and stride (2, 2, 2) at level 0", "use stride 1"],
    ),
    "a skip without out_channels": (
        lambda: UNet3d(1, 2, NARROW, skip=lambda d, e: nn.Identity()),
        ["UNet3d", "int out_channels", "got Identity with None", "set self.out_channels"],
    ),
    "input rank": (
        lambda: UNet3d(1, 2, NARROW)(volume(1, 8, 8, 8)),
        ["UNet3d", "expected (batch, 1, depth, height, width)", "got (1, 8, 8, 8)", "unsqueeze"],
    ),
    "input width": (
        lambda: UCANet(1, 2, NARROW)(volume(1, 2, 8, 8, 8)),
        ["UCANet", "expected (batch, 1, depth, height, width)", "got (1, 2, 8, 8, 8)", "in_channels"],
    ),
    "too small to halve": (
        lambda: UCANet(1, 2, NARROW)(volume(1, 1, 7, 16, 16)),
        ["UCANet", "expected at least (8, 8, 8) voxels", "halved 3 times", "got (7, 16, 16)", "pad", "strides of 1"],
    ),
    "too small for anisotropic strides": (
        lambda: UNet3d(1, 2, (2, 3, 4), strides=[(1, 2, 2), (1, 3, 2)])(volume(1, 1, 1, 6, 3)),
        ["expected at least (1, 6, 4) voxels", "got (1, 6, 3)"],
    ),
    "one voxel to normalize": (
        lambda: UNet3d(1, 2, NARROW, norm="instance").eval()(volume(2, 1, 8, 8, 8)),
        ["UNet3d", "more than one value at the deepest level", "norm='instance'", "got (2, 1, 8, 8, 8)", "pad"],
    ),
    "folding a net in training": (
        lambda: fold_batch_norm(UNet3d(1, 2, NARROW)),
        ["fold_batch_norm", "expected a net in eval mode", "got one in training mode", "net.eval()"],
    ),
    "deep supervision switched on without heads": (
        lambda: supervised_without_heads()(volume(2, 1, 8, 8, 8)),
        ["UCANet", "expected a net made with deep_supervision=True", "got one made without", "switch it off"],
    ),
    # Other libraries' nets.
    "a net that nobody knows": (
        lambda: wrap_skips(nn.Sequential(nn.Conv3d(1, 2, 1))),
        [
            "wrap_skips",
            "expected a net of MONAI or nnU-Net, one of BasicUNet,",
            "got torch's Sequential",
            "cat([csca(u, e), u])",
        ],
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
        ["wrap_skips", "expected a 3D net, or a 2D net with attention='cca'", "got a net of 2", "attention='csca'"],
    ),
    "attention of other nets": (
        lambda: wrap_skips(basic_unet(3), attention="both"),
        ["wrap_skips", "expected attention", "'csca', 'cca', 'sca'", "got 'both'"],
    ),
    "zero without the decoder maps": (
        lambda: wrap_skips(basic_unet(3), zero_init=True, concatenate=False),
        ["wrap_skips", "expected concatenate=True for zero_init=True", "got False", "use one of the two"],
    ),
    "nothing to unwrap": (
        lambda: unwrap_skips(basic_unet(3)),
        ["unwrap_skips", "expected a net that wrap_skips has wrapped", "got BasicUNet without"],
    ),
    "weights that are gone": (
        lambda: unwrap_skips(wrap_skips(basic_unet(3), concatenate=False)),
        ["unwrap_skips", "expected a net wrapped with concatenate=True", "got one whose", "create a new net"],
    ),
    "one voxel in groups of one channel": (
        lambda: UNet3d(1, 2, (4, 8), norm="group").eval()(volume(2, 1, 2, 2, 2)),
        ["UNet3d", "more than one value at the deepest level", "norm='group'", "got (2, 1, 2, 2, 2)", "pad"],
    ),
    "one voxel to train on": (
        lambda: UNet3d(1, 2, NARROW).train()(volume(1, 1, 8, 8, 8)),
        ["UNet3d", "more than one value at the deepest level", "norm='batch'", "got (1, 1, 8, 8, 8)", "pad"],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_says_who_expected_and_got(name):
    call, parts = CASES[name]
    with pytest.raises(ValueError, match=".*".join(map(re.escape, parts))) as caught:
        call()
    assert re.fullmatch(r"\w+: expected .*; ?(f?got|.*; got) .*", str(caught.value)), "who: expected ...; got ..."
    assert "\n" not in str(caught.value)


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


def test_the_smallest_volume_that_can_be_halved():
    assert UCANet(1, 2, NARROW).eval()(volume(1, 1, 8, 8, 8)).shape == (1, 2, 8, 8, 8)
