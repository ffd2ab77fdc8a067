"""Small U-Nets of other libraries for the drop-in tests, and the modules whose outputs they join."""

from collections.abc import Callable
from typing import NamedTuple

import pytest
from torch import nn


class OtherNet(NamedTuple):
    """A net, and by name its modules whose outputs are joined, deepest join first.

    Args:
        make: a net of a number of dimensions, with fresh weights.
        decoder: modules whose outputs are the decoder maps U.
        encoder: modules whose outputs are the encoder maps E.
        encoder_first: whether E comes first in the concatenation.
        slice_dim: the dimension that counts slices in this library.
    """

    make: Callable[[int], nn.Module]
    decoder: list[str]
    encoder: list[str]
    encoder_first: bool
    slice_dim: int


def basic_unet(dimensions: int) -> nn.Module:
    nets = pytest.importorskip("monai.networks.nets", reason="MONAI is not installed: pip install '.[ltvs]'")
    return nets.BasicUNet(dimensions, 1, 2, features=(3, 4, 5, 6, 8, 7))


def unet(dimensions: int) -> nn.Module:
    nets = pytest.importorskip("monai.networks.nets", reason="MONAI is not installed: pip install '.[ltvs]'")
    return nets.UNet(dimensions, 1, 2, channels=(3, 4, 6), strides=(2, 2), num_res_units=1)


def attention_unet(dimensions: int) -> nn.Module:
    nets = pytest.importorskip("monai.networks.nets", reason="MONAI is not installed: pip install '.[ltvs]'")
    return nets.AttentionUnet(dimensions, 1, 2, channels=(4, 6, 8), strides=(2, 2))


def dynunet(dimensions: int) -> nn.Module:
    nets = pytest.importorskip("monai.networks.nets", reason="MONAI is not installed: pip install '.[ltvs]'")
    flat = (1, 3, 3)[-dimensions:]
    up = (1, 2, 2)[-dimensions:]
    return nets.DynUNet(dimensions, 1, 2, [flat, 3, 3], [1, up, 2], [up, 2], filters=(3, 4, 5), deep_supervision=True)


def _nnunet(name: str, count: str, dimensions: int) -> nn.Module:
    nets = pytest.importorskip(
        "dynamic_network_architectures.architectures.unet",
        reason="dynamic-network-architectures is not installed: pip install '.[nnunet]'",
    )
    conv, norm = {2: (nn.Conv2d, nn.InstanceNorm2d), 3: (nn.Conv3d, nn.InstanceNorm3d)}[dimensions]
    flat, up = (1, 3, 3)[-dimensions:], (1, 2, 2)[-dimensions:]
    cube, twice = (3,) * dimensions, (2,) * dimensions
    return getattr(nets, name)(
        input_channels=1,
        n_stages=3,
        features_per_stage=(3, 4, 5),
        conv_op=conv,
        kernel_sizes=(flat, cube, cube),
        strides=((1,) * dimensions, up, twice),
        num_classes=2,
        n_conv_per_stage_decoder=(1, 2),
        conv_bias=True,
        norm_op=norm,
        norm_op_kwargs={"affine": True},
        nonlin=nn.LeakyReLU,
        deep_supervision=True,
        **{count: (1, 2, 1)},
    )


def plain_conv_unet(dimensions: int) -> nn.Module:
    return _nnunet("PlainConvUNet", "n_conv_per_stage", dimensions)


def residual_encoder_unet(dimensions: int) -> nn.Module:
    return _nnunet("ResidualEncoderUNet", "n_blocks_per_stage", dimensions)


_NNUNET = (["decoder.transpconvs.0", "decoder.transpconvs.1"], ["encoder.stages.1", "encoder.stages.0"], False, -3)

OTHER_NETS = {
    "BasicUNet": OtherNet(
        basic_unet,
        ["upcat_4.upsample", "upcat_3.upsample", "upcat_2.upsample", "upcat_1.upsample"],
        ["down_3", "down_2", "down_1", "conv_0"],
        True,
        -1,
    ),
    "UNet": OtherNet(
        unet,
        ["model.1.submodule.1.submodule", "model.1.submodule"],
        ["model.1.submodule.0", "model.0"],
        True,
        -1,
    ),
    "AttentionUnet": OtherNet(
        attention_unet,
        ["model.1.submodule.1.upconv", "model.1.upconv"],
        ["model.1.submodule.1.attention", "model.1.attention"],
        True,
        -1,
    ),
    "DynUNet": OtherNet(
        dynunet, ["upsamples.0.transp_conv", "upsamples.1.transp_conv"], ["downsamples.0", "input_block"], False, -1
    ),
    "PlainConvUNet": OtherNet(plain_conv_unet, *_NNUNET),
    "ResidualEncoderUNet": OtherNet(residual_encoder_unet, *_NNUNET),
}
