"""Bad input: every `raise` of the package, with who, expected, got and (where there is one) the remedy."""

import ast
import re
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

import crossattn3d
from crossattn3d import CSCA, ChannelCrossAttention3d, SliceCrossAttention3d, UCANet, UNet3d
from crossattn3d import functional as F
from crossattn3d.dropin import unwrap_skips, wrap_skips
from crossattn3d.folding import fold_batch_norm
from support.monai_and_nnunet_nets import basic_unet
from support.random_parameters import channel_parameters, maps, slice_parameters

pytestmark = pytest.mark.usefixtures("unchecked")

ROOT = Path(crossattn3d.__file__).parent
#: Tested in test_hub.py and test_export_onnx.py.
ELSEWHERE = {"hub.py", "export.py"}
SIZE = (2, 3, 4)
U, E = maps(0, 2, 3, 4, SIZE)
CHANNEL, SLICES = channel_parameters(1, 3, 4, 4), slice_parameters(2, 3, 4, 4)
NARROW = (2, 3, 4, 5)


def without_bias() -> CSCA:
    module = CSCA(3, 4)
    module.channel.to_value = nn.Conv3d(4, 4, 1, bias=False)
    return module


def supervised_without_heads() -> UCANet:
    net = UCANet(1, 2, NARROW)
    net.deep_supervision = True
    return net


def without_an_upcat() -> nn.Module:
    net = basic_unet(3)
    del net.upcat_2.convs
    return net


def volume(*shape: int) -> torch.Tensor:
    return torch.zeros(shape)


# Name: (what is called, what the message must say in this order).
CASES: dict[str, tuple[Callable[[], object], list[str]]] = {
    # The functions: options, ranks, sizes, widths, projections.
    "score_norm": (
        lambda: F.channel_cross_attention(U, E, CHANNEL, score_norm="softmax"),
        ["channel_cross_attention", "expected score_norm", "'none', 'sqrt', 'mean', 'cosine', 'instance'", "'softmax'"],
    ),
    "backend": (
        lambda: F.slice_cross_attention(U, E, SLICES, backend="cuda"),
        ["slice_cross_attention", "expected backend", "'auto', 'reference', 'torch'", "got 'cuda'"],
    ),
    "triton cannot": (
        lambda: F.slice_cross_attention(U.double(), E.double(), SLICES, backend="triton"),
        ["triton", "expected maps and a machine", "use backend='auto'"],
    ),
    "an earlier name of torch": (
        lambda: F.slice_cross_attention(U, E, SLICES, backend="factorised"),
        ["slice_cross_attention", "expected a backend by its present name", "got 'factorised'", "use backend='torch'"],
    ),
    "an earlier name of cpp": (
        lambda: CSCA(3, backend="native"),
        ["CSCA", "expected a backend by its present name", "got 'native'", "use backend='cpp'"],
    ),
    "cpp cannot": (
        lambda: F.channel_cross_attention(U.half(), E.half(), CHANNEL, backend="cpp"),
        ["cpp", "expected maps and a machine", "got maps of torch.float16", "use backend='auto'"],
    ),
    "slice_dim counts channels": (
        lambda: F.slice_attention_map(U, E, SLICES, slice_dim=1),
        ["slice_attention_map", "expected slice_dim", "-3, -2 or -1", "got 1"],
    ),
    "slice_dim out of range": (
        lambda: F.channel_slice_cross_attention(U, E, CHANNEL, SLICES, slice_dim=-6),
        ["channel_slice_cross_attention", "expected slice_dim", "got -6"],
    ),
    "query rank": (
        lambda: F.channel_attention_map(U[0], E, CHANNEL),
        ["channel_attention_map", "expected query as", "4 dimensions", "(3, 2, 3, 4)", "unsqueeze"],
    ),
    "context rank": (
        lambda: F.slice_cross_attention(U, E[:, :, 0], SLICES),
        ["slice_cross_attention", "expected context as", "4 dimensions", "(2, 4, 3, 4)", "unsqueeze"],
    ),
    "spatial sizes": (
        lambda: F.channel_cross_attention(U[..., :3], E, CHANNEL),
        ["expected query and context of one", "(2, 3, 2, 3, 3)", "(2, 4, 2, 3, 4)", "resize"],
    ),
    "batch sizes": (
        lambda: F.channel_cross_attention(U[:1], E, CHANNEL),
        ["expected query and context of one batch", "(1, 3, 2, 3, 4)", "(2, 4, 2, 3, 4)"],
    ),
    "query width": (
        lambda: F.channel_cross_attention(U[:, :2], E, CHANNEL),
        ["expected a query with 3 channels", "got 2", "query_channels=2"],
    ),
    "context width": (
        lambda: F.slice_cross_attention(U, E[:, :3], SLICES),
        ["expected a context with 4 channels", "got 3", "context_channels=3"],
    ),
    "value width": (
        lambda: F.channel_cross_attention(U, E, CHANNEL._replace(v_weight=torch.zeros(4, 5))),
        ["expected a context with 5 channels", "got 4"],
    ),
    "projections of different widths": (
        lambda: F.channel_cross_attention(U, E, CHANNEL._replace(k_weight=torch.zeros(5, 4), k_bias=torch.zeros(5))),
        ["expected queries, keys and values of one width, ", "got [4, 5, 4]", "as many rows"],
    ),
    "temperature": (
        lambda: F.channel_cross_attention(U, E, CHANNEL._replace(temperature=None), score_norm="cosine"),
        ["expected a temperature for score_norm='cosine'", "got None", "scalar"],
    ),
    "whole numbers": (
        lambda: F.channel_cross_attention(U, E.long(), CHANNEL),
        ["expected context of floating-point numbers", "got torch.int64", "float32"],
    ),
    "weights of whole numbers": (
        lambda: F.channel_cross_attention(U, E, CHANNEL._replace(k_weight=CHANNEL.k_weight.int())),
        ["expected k_weight as a tensor of floating-point numbers", "got torch.int32"],
    ),
    "no bias": (
        lambda: F.slice_cross_attention(U, E, SLICES._replace(v_bias=None)),
        ["expected v_bias as a tensor of floating-point numbers", "got NoneType"],
    ),
    "a temperature that is no tensor": (
        lambda: F.channel_cross_attention(U, E, CHANNEL._replace(temperature=1.5), score_norm="cosine"),
        ["expected temperature as a tensor", "got float"],
    ),
    "a slice_dim that is no int": (
        lambda: F.slice_cross_attention(U, E, SLICES, slice_dim=-3.0),
        ["expected slice_dim", "got -3.0"],
    ),
    "maps on two devices": (
        lambda: F.channel_cross_attention(U, E.to("meta"), CHANNEL),
        ["channel_cross_attention", "expected context on cpu", "got it on meta", ".to()"],
    ),
    "parameters elsewhere": (
        lambda: F.slice_cross_attention(U, E, SLICES._replace(out_bias=SLICES.out_bias.to("meta"))),
        ["slice_cross_attention", "expected out_bias on cpu", "got it on meta", ".to()"],
    ),
    "a temperature elsewhere that is not used": (
        lambda: F.channel_cross_attention(U, E, CHANNEL._replace(temperature=torch.ones((), device="meta"))),
        ["expected temperature on cpu", "got it on meta"],
    ),
    "a temperature for each row": (
        lambda: F.channel_cross_attention(U, E, CHANNEL._replace(temperature=torch.ones(4, 1)), score_norm="cosine"),
        ["expected temperature with 0 dimensions", "got (4, 1)"],
    ),
    "a temperature for each row that is not used": (
        lambda: F.slice_cross_attention(U, E, SLICES._replace(temperature=torch.ones(1))),
        ["expected temperature with 0 dimensions", "got (1,)"],
    ),
    "the weight of a convolution": (
        lambda: F.channel_cross_attention(U, E, CHANNEL._replace(k_weight=torch.zeros(4, 4, 1, 1, 1))),
        ["expected k_weight with 2 dimensions", "got (4, 4, 1, 1, 1)", "flatten"],
    ),
    "a bias of another width": (
        lambda: F.slice_cross_attention(U, E, SLICES._replace(out_bias=torch.zeros(3))),
        ["expected out_bias with 4 values", "got 3"],
    ),
    "slices of several channels": (
        lambda: F.slice_cross_attention(
            U,
            E,
            slice_parameters(2, 3, 4, 4)._replace(
                q_weight=torch.zeros(2, 3), k_weight=torch.zeros(2, 4), v_weight=torch.zeros(2, 4)
            ),
        ),
        ["expected queries, keys and values of one width, which is 1 for slices", "got [2, 2, 2]"],
    ),
    "parts of different widths": (
        lambda: F.channel_slice_cross_attention(U, E, CHANNEL, slice_parameters(0, 3, 4, 5)),
        ["expected both parts to give as many channels", "got 4 and 5"],
    ),
    "residual of another width": (
        lambda: F.channel_cross_attention(U, E, CHANNEL, residual=True),
        ["expected a query with the 4 channels of the output", "residual=True", "got 3", "residual=False"],
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
    "projection without bias": (
        lambda: without_bias()(U, E),
        ["expected projections with a bias", "got one without", "bias=True"],
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
