"""Wrong calls of the nets: widths, plans, options, skips, images."""

from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from crossattn3d import CSCA, UCANet, UNet3d
from crossattn3d.folding import fold_batch_norm
from crossattn3d.regional import RegionalNet

NARROW = (2, 3, 4, 5)


def supervised_without_heads() -> UCANet:
    net = UCANet(1, 2, NARROW)
    net.deep_supervision = True
    return net


def volume(*shape: int) -> torch.Tensor:
    return torch.zeros(shape)


def regional(x: torch.Tensor, wanted: tuple[int, ...], *, autocast: bool = False) -> object:
    net = RegionalNet(fold_batch_norm(UCANet(1, 2, NARROW).eval()))
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        return net(x, np.ones(wanted, dtype=bool))


#: Name: (what is called, what the message must say in this order).
NET_CALLS: dict[str, tuple[Callable[[], object], list[str]]] = {
    "checkpoints switched on with text": (
        lambda: setattr(UNet3d(1, 2, NARROW), "use_checkpoint", "no"),
        ["UNet3d", "expected use_checkpoint to be True or False", "got 'no'"],
    ),
    "deep supervision switched on with text": (
        lambda: setattr(UCANet(1, 2, NARROW), "deep_supervision", "no"),
        ["UCANet", "expected deep_supervision to be True or False", "got 'no'"],
    ),
    "one level": (lambda: UNet3d(1, 2, (8,)), ["UNet3d", "expected channels of two or more levels", "got (8,)"]),
    "a level of width 0": (lambda: UNet3d(1, 2, (8, 0)), ["UNet3d", "each 1 or more", "got (8, 0)"]),
    "one number for all levels": (
        lambda: UCANet(1, 2, channels=32),
        ["UCANet", "expected channels of two or more levels", "got 32", "one width per level", "(32, 64, 128, 256)"],
    ),
    "no levels": (lambda: UCANet(1, 2, ()), ["UCANet", "expected channels of two or more levels", "got ()"]),
    "levels as text": (lambda: UNet3d(1, 2, "32"), ["UNet3d", "expected channels", "got '32'"]),
    "widths as text": (lambda: UNet3d(1, 2, ("4", "8")), ["UNet3d", "expected channels", "got ('4', '8')"]),
    "widths with a point": (
        lambda: UCANet(1, 2, (4.0, 8.0)),
        ["UCANet", "expected channels", "a whole number", "got (4.0, 8.0)"],
    ),
    "a width of True": (lambda: UNet3d(1, 2, (True, 8)), ["UNet3d", "expected channels", "got (True, 8)"]),
    "a width below 0": (lambda: UNet3d(1, 2, (-4, 8)), ["UNet3d", "expected channels", "got (-4, 8)"]),
    "levels without an order": (lambda: UNet3d(1, 2, {4, 8}), ["UNet3d", "expected channels", "got {"]),
    "levels that are used up": (lambda: UNet3d(1, 2, iter((4, 8))), ["UNet3d", "expected channels", "got <tuple_iter"]),
    "an array of no dimensions": (
        lambda: UNet3d(1, 2, np.array(4)),
        ["UNet3d", "expected channels", "got array(4)"],
    ),
    "in_channels as text": (
        lambda: UNet3d("1", 2, NARROW),
        ["UNet3d", "expected in_channels of 1 or more, a whole number", "got '1'"],
    ),
    "no in_channels": (lambda: UCANet(0, 2, NARROW), ["UCANet", "expected in_channels of 1 or more", "got 0"]),
    "in_channels of True": (lambda: UNet3d(True, 2, NARROW), ["UNet3d", "expected in_channels", "got True"]),
    "no out_channels": (lambda: UCANet(1, None, NARROW), ["UCANet", "expected out_channels", "got None"]),
    "norm by its class": (
        lambda: UNet3d(1, 2, NARROW, norm=nn.BatchNorm3d),
        ["UNet3d", "expected norm", "BatchNorm3d"],
    ),
    "norm in capitals": (lambda: UNet3d(1, 2, NARROW, norm="Batch"), ["UNet3d", "expected norm", "got 'Batch'"]),
    "norm in an array": (lambda: UNet3d(1, 2, NARROW, norm=np.array(["a", "b"])), ["UNet3d", "expected norm", "array"]),
    "up_norm as text": (
        lambda: UNet3d(1, 2, NARROW, up_norm="no"),
        ["UNet3d", "expected up_norm to be True or False", "got 'no'"],
    ),
    "use_checkpoint as text": (
        lambda: UCANet(1, 2, NARROW, use_checkpoint="False"),
        ["UCANet", "expected use_checkpoint to be True or False", "got 'False'"],
    ),
    "deep_supervision as a number": (
        lambda: UCANet(1, 2, NARROW, deep_supervision=2),
        ["UCANet", "expected deep_supervision to be True or False", "got 2"],
    ),
    "residual of a net": (
        lambda: UCANet(1, 2, NARROW, residual=None),
        ["UCANet", "expected residual to be True or False", "got None"],
    ),
    "slice_dim of a net": (lambda: UCANet(1, 2, NARROW, slice_dim="d"), ["UCANet", "expected slice_dim", "got 'd'"]),
    "backend of a net": (
        lambda: UCANet(1, 2, NARROW, attention="cca", backend=None),
        ["UCANet", "expected backend", "got None"],
    ),
    "a module for a factory": (
        lambda: UNet3d(1, 2, NARROW, skip=CSCA(4)),
        ["UNet3d", "expected skip as a factory", "one for each level", "got the module CSCA", "functools.partial(CSCA"],
    ),
    "a name for a factory": (
        lambda: UNet3d(1, 2, NARROW, skip="csca"),
        ["UNet3d", "expected skip as a factory", "got 'csca'", "crossattn3d.CSCA"],
    ),
    "a factory of one argument": (
        lambda: UNet3d(1, 2, NARROW, skip=lambda width: nn.Identity()),
        ["UNet3d", "expected skip to take (decoder_channels, encoder_channels)", "too many positional", "partial"],
    ),
    "a factory of more arguments": (
        lambda: UNet3d(1, 2, NARROW, skip=nn.Conv3d),
        ["UNet3d", "expected skip to take (decoder_channels, encoder_channels)", "kernel_size", "partial"],
    ),
    "a factory of numbers": (
        lambda: UNet3d(1, 2, NARROW, skip=lambda d, e: 3),
        ["UNet3d", "expected skip to make modules with an int out_channels", "got int with None"],
    ),
    "a skip beside the attention": (
        lambda: UCANet(1, 2, NARROW, skip=CSCA),
        ["UCANet", "expected no skip", "got <class", "CSCA", "use UNet3d"],
    ),
    "one stride": (
        lambda: UNet3d(1, 2, NARROW, strides=2),
        ["UNet3d", "expected strides with 3 entries", "got 2", "such as (2, 2, 2)"],
    ),
    "one kernel": (
        lambda: UCANet(1, 2, NARROW, kernel_sizes=3),
        ["UCANet", "expected kernel_sizes with 4 entries", "got 3", "one for each level", "such as (3, 3, 3, 3)"],
    ),
    "strides with a point": (
        lambda: UNet3d(1, 2, (2, 3), strides=(2.0,)),
        ["UNet3d", "expected strides", "got (2.0,)"],
    ),
    "a stride of True": (lambda: UNet3d(1, 2, (2, 3), strides=(True,)), ["UNet3d", "expected strides", "got (True,)"]),
    "a stride of None": (
        lambda: UNet3d(1, 2, (2, 3), strides=((1, 2, None),)),
        ["UNet3d", "expected strides", "got ((1, 2, None),)"],
    ),
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
    "net score_norm": (lambda: UCANet(1, 2, NARROW, score_norm="x"), ["UCANet", "expected score_norm", "got 'x'"]),
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
        ["UNet3d", "an int out_channels", "got Identity with None", "set self.out_channels"],
    ),
    "input rank": (
        lambda: UNet3d(1, 2, NARROW)(volume(1, 8, 8, 8)),
        ["UNet3d", "expected (batch, 1, depth, height, width)", "got (1, 8, 8, 8)", "unsqueeze"],
    ),
    "input width": (
        lambda: UCANet(1, 2, NARROW)(volume(1, 2, 8, 8, 8)),
        ["UCANet", "expected (batch, 1, depth, height, width)", "got (1, 2, 8, 8, 8)", "in_channels"],
    ),
    "a slice": (
        lambda: UCANet(1, 2, NARROW)(volume(8, 8)),
        ["UCANet", "expected (batch, 1, depth, height, width)", "got (8, 8)", "unsqueeze"],
    ),
    "an array for an image": (
        lambda: UNet3d(1, 2, NARROW)(volume(1, 1, 8, 8, 8).numpy()),
        ["UNet3d", "expected a tensor, (batch, 1, depth, height, width)", "got ndarray", "torch.as_tensor"],
    ),
    "a list of images": (
        lambda: UCANet(1, 2, NARROW)([volume(1, 8, 8, 8)]),
        ["UCANet", "expected a tensor", "got list"],
    ),
    "an image of whole numbers": (
        lambda: UCANet(1, 2, NARROW)(volume(1, 1, 8, 8, 8).short()),
        ["UCANet", "expected an image of torch.float32 numbers", "got torch.int16", ".to(torch.float32)"],
    ),
    "an image as NumPy makes it": (
        lambda: UNet3d(1, 2, NARROW)(torch.from_numpy(np.zeros((1, 1, 8, 8, 8)))),
        ["UNet3d", "expected an image of torch.float32 numbers", "got torch.float64", ".to(torch.float32)"],
    ),
    "an image on another device": (
        lambda: UNet3d(1, 2, NARROW)(volume(1, 1, 8, 8, 8).to("meta")),
        ["UNet3d", "expected an image on cpu, as the weights", "got it on meta", ".to()"],
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
    "folding a class": (
        lambda: fold_batch_norm(UNet3d),
        ["fold_batch_norm", "expected a net", "got the class UNet3d", "UNet3d(...)"],
    ),
    "folding nothing": (
        lambda: fold_batch_norm(None),
        ["fold_batch_norm", "expected a net, a torch.nn.Module", "got NoneType"],
    ),
    "folding a net in training": (
        lambda: fold_batch_norm(UNet3d(1, 2, NARROW)),
        ["fold_batch_norm", "expected a net in eval mode", "got one in training mode", "net.eval()"],
    ),
    "deep supervision switched on without heads": (
        lambda: supervised_without_heads()(volume(2, 1, 8, 8, 8)),
        ["UCANet", "expected a net made with deep_supervision=True", "got one made without", "switch it off"],
    ),
    "one voxel in groups of one channel": (
        lambda: UNet3d(1, 2, (4, 8), norm="group").eval()(volume(2, 1, 2, 2, 2)),
        ["UNet3d", "more than one value at the deepest level", "norm='group'", "got (2, 1, 2, 2, 2)", "pad"],
    ),
    "one voxel to train on": (
        lambda: UNet3d(1, 2, NARROW).train()(volume(1, 1, 8, 8, 8)),
        ["UNet3d", "more than one value at the deepest level", "norm='batch'", "got (1, 1, 8, 8, 8)", "pad"],
    ),
    "several inputs of a regional net": (
        lambda: regional(volume(2, 1, 8, 9, 10), (8, 9, 10)),
        ["RegionalNet", "expected a batch of one, (1, 1, depth", "got (2, 1, 8, 9, 10)", "one after the other"],
    ),
    "another size of what is wanted": (
        lambda: regional(volume(1, 1, 8, 9, 10), (8, 10, 9)),
        ["RegionalNet", "expected wanted of the input's size, (8, 9, 10)", "got (8, 10, 9)", "for each voxel"],
    ),
    "a small input of a regional net": (
        lambda: regional(volume(1, 1, 7, 9, 10), (7, 9, 10)),
        ["UCANet", "expected at least (8, 8, 8) voxels", "got (7, 9, 10)", "pad the input"],
    ),
    "float64 of a regional net": (
        lambda: regional(volume(1, 1, 8, 9, 10).double(), (8, 9, 10), autocast=True),
        ["UCANet", "expected an image of torch.float32 numbers", "got torch.float64", ".to(torch.float32)"],
    ),
}
