"""Small nets of other libraries for the drop-in tests, and the modules whose outputs they join."""

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from torch import nn


class OtherNet(NamedTuple):
    """A net, and by name its modules whose outputs are joined, deepest join first.

    Args:
        make: a net of a number of dimensions, with fresh weights.
        decoder: modules whose outputs are the decoder maps U.
        encoder: modules whose outputs are the encoder maps E; with :1, whose second argument is.
        slice_dim: the dimension that counts slices in this library.
        how: `encoder first` or `decoder first` in the concatenation, or `adds`.
        takes: modules that take the joined map, where the net's own code joins the two.
        size: of a volume that the net takes.
    """

    make: Callable[[int], nn.Module]
    decoder: list[str]
    encoder: list[str]
    slice_dim: int
    how: str
    takes: list[str] | None = None
    size: tuple[int, int, int] = (16, 32, 48)


def _monai(name: str, *arguments: Any, **options: Any) -> nn.Module:
    reason = "MONAI is not installed: pip install '.[ltvs]'"
    nets = pytest.importorskip("monai.networks.nets", reason=reason)
    if name == "CheckpointUNet":  # is not among the names of the package
        nets = pytest.importorskip("monai.networks.nets.unet", reason=reason)
    return getattr(nets, name)(*arguments, **options)


def basic_unet(dimensions: int) -> nn.Module:
    return _monai("BasicUNet", dimensions, 1, 2, features=(3, 4, 5, 6, 8, 7))


def basic_unet_plus_plus(dimensions: int) -> nn.Module:
    return _monai("BasicUNetPlusPlus", dimensions, 1, 2, features=(3, 4, 6, 8, 10, 5), deep_supervision=True)


def unet(dimensions: int) -> nn.Module:
    return _monai("UNet", dimensions, 1, 2, channels=(3, 4, 6), strides=(2, 2), num_res_units=1)


def checkpoint_unet(dimensions: int) -> nn.Module:
    return _monai("CheckpointUNet", dimensions, 1, 2, channels=(3, 4, 6), strides=(2, 2), dropout=0.1)


def attention_unet(dimensions: int) -> nn.Module:
    return _monai("AttentionUnet", dimensions, 1, 2, channels=(4, 6, 8), strides=(2, 2))


def dynunet(dimensions: int) -> nn.Module:
    flat = (1, 3, 3)[-dimensions:]
    up = (1, 2, 2)[-dimensions:]
    strides = [1, up, 2]
    return _monai("DynUNet", dimensions, 1, 2, [flat, 3, 3], strides, [up, 2], filters=(3, 4, 5), deep_supervision=True)


def flexible_unet(dimensions: int) -> nn.Module:
    return _monai("FlexibleUNet", 1, 2, "resnet10", spatial_dims=dimensions, decoder_channels=(10, 8, 6, 5, 4))


def unetr(dimensions: int) -> nn.Module:
    size = (16, 32, 48)[-dimensions:]
    return _monai("UNETR", 1, 2, size, 3, 12, 16, 2, spatial_dims=dimensions)


def swin_unetr(dimensions: int) -> nn.Module:
    return _monai(
        "SwinUNETR", 1, 2, depths=(1, 1, 1, 1), num_heads=(1, 2, 2, 2), feature_size=12, spatial_dims=dimensions
    )


def vnet(dimensions: int) -> nn.Module:
    return _monai("VNet", dimensions, 1, 2)


def segresnet(dimensions: int) -> nn.Module:
    return _monai("SegResNet", dimensions, 8, 1, 2, blocks_down=(1, 1, 1), blocks_up=(1, 1))


def segresnet_vae(dimensions: int) -> nn.Module:
    size = (16, 32, 48)[-dimensions:]
    options = {"vae_nz": 4, "spatial_dims": dimensions, "blocks_down": (1, 1, 1), "blocks_up": (1, 1)}
    return _monai("SegResNetVAE", size, **options)


def segresnet_ds(dimensions: int) -> nn.Module:
    resolution = (1, 1, 2)[-dimensions:]
    return _monai("SegResNetDS", dimensions, 4, 1, 2, blocks_down=(1, 1, 1), dsdepth=2, resolution=resolution)


def segresnet_ds2(dimensions: int) -> nn.Module:
    return _monai("SegResNetDS2", dimensions, 4, 1, 2, blocks_down=(1, 1, 1), dsdepth=2)


def mednext(dimensions: int) -> nn.Module:
    options = {"deep_supervision": True, "use_residual_connection": True, "kernel_size": 3}
    return _monai("MedNeXt", dimensions, 4, 1, 2, blocks_down=(1, 1), blocks_bottleneck=1, blocks_up=(1, 1), **options)


def ahnet(dimensions: int) -> nn.Module:
    return _monai("AHNet", (1, 1, 1, 1), dimensions, 1, 2, psp_block_num=1)


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


def residual_unet(dimensions: int) -> nn.Module:
    return _nnunet("ResidualUNet", "n_blocks_per_stage", dimensions)


_NNUNET = (["decoder.transpconvs.0", "decoder.transpconvs.1"], ["encoder.stages.1", "encoder.stages.0"], -3)
_UNET = (["model.1.submodule.1.submodule", "model.1.submodule"], ["model.1.submodule.0", "model.0"], -1)
_SEGRESNET = (["up_samples.0", "up_samples.1"], ["down_layers.1", "down_layers.0"], -1, "adds")
_UPCATS = [f"upcat_{i}_{j}" for j in (1, 2, 3, 4) for i in range(5 - j)]
_DS = [f"encoder.layers.{i}.blocks" for i in (1, 0)]
_BRANCHES = [f"{branch}.{i}" for branch in ("up_layers", "up_layers_auto") for i in (0, 1)]


def _decoders(*numbers: int) -> tuple[list[str], list[str], int, str]:
    names = [f"decoder{number}" for number in numbers]
    return [f"{name}.transp_conv" for name in names], [f"{name}:1" for name in names], -1, "decoder first"


OTHER_NETS = {
    "BasicUNet": OtherNet(
        basic_unet,
        ["upcat_4.upsample", "upcat_3.upsample", "upcat_2.upsample", "upcat_1.upsample"],
        ["down_3", "down_2", "down_1", "conv_0"],
        -1,
        "encoder first",
    ),
    "BasicUNetPlusPlus": OtherNet(
        basic_unet_plus_plus,
        [f"{name}.upsample" for name in _UPCATS],
        [f"{name}:1" for name in _UPCATS],
        -1,
        "encoder first",
    ),
    "UNet": OtherNet(unet, *_UNET, "encoder first"),
    "CheckpointUNet": OtherNet(
        checkpoint_unet,
        ["model.1.submodule.module.1.submodule", "model.1.submodule"],
        ["model.1.submodule.module.0", "model.0"],
        -1,
        "encoder first",
    ),
    "AttentionUnet": OtherNet(
        attention_unet,
        ["model.1.submodule.1.upconv", "model.1.upconv"],
        ["model.1.submodule.1.attention", "model.1.attention"],
        -1,
        "encoder first",
    ),
    "DynUNet": OtherNet(
        dynunet,
        ["upsamples.0.transp_conv", "upsamples.1.transp_conv"],
        ["downsamples.0", "input_block"],
        -1,
        "decoder first",
    ),
    "FlexibleUNet": OtherNet(
        flexible_unet,
        [f"decoder.blocks.{i}.upsample" for i in range(4)],
        [f"decoder.blocks.{i}:1" for i in range(4)],
        -1,
        "encoder first",
        size=(32, 64, 96),
    ),
    "UNETR": OtherNet(unetr, *_decoders(5, 4, 3, 2)),
    "SwinUNETR": OtherNet(swin_unetr, *_decoders(5, 4, 3, 2, 1), size=(32, 64, 96)),
    "VNet": OtherNet(
        vnet,
        [f"up_tr{n}.act_function1" for n in (256, 128, 64, 32)],
        [f"up_tr{n}.dropout2" for n in (256, 128, 64, 32)],
        -1,
        "decoder first",
        [f"up_tr{n}.ops" for n in (256, 128, 64, 32)],
    ),
    "SegResNet": OtherNet(segresnet, *_SEGRESNET, ["up_layers.0", "up_layers.1"]),
    "SegResNetVAE": OtherNet(segresnet_vae, *_SEGRESNET, ["up_layers.0", "up_layers.1"]),
    "SegResNetDS": OtherNet(
        segresnet_ds,
        [f"up_layers.{i}.upsample" for i in (0, 1)],
        _DS,
        -1,
        "adds",
        [f"up_layers.{i}.blocks" for i in (0, 1)],
    ),
    "SegResNetDS2": OtherNet(
        segresnet_ds2,
        [f"{name}.upsample" for name in _BRANCHES],
        [*_DS, *_DS],
        -1,
        "adds",
        [f"{name}.blocks" for name in _BRANCHES],
    ),
    "MedNeXt": OtherNet(
        mednext,
        ["up_blocks.0", "up_blocks.1"],
        ["enc_stages.1", "enc_stages.0"],
        -1,
        "adds",
        ["dec_stages.0", "dec_stages.1"],
    ),
    "AHNet": OtherNet(
        ahnet,
        ["up0", "up1", "up2", "trans1", "up3"],
        ["layer3", "layer2", "layer1", "maxpool", "relu"],
        -1,
        "adds",
        [f"dense{i}" for i in range(5)],
        size=(32, 64, 96),
    ),
    "PlainConvUNet": OtherNet(plain_conv_unet, *_NNUNET, "decoder first"),
    "ResidualEncoderUNet": OtherNet(residual_encoder_unet, *_NNUNET, "decoder first"),
    "ResidualUNet": OtherNet(residual_unet, *_NNUNET, "decoder first"),
}
