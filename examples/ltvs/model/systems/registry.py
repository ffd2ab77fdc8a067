"""The ten systems of Table 1 by name, with what the paper prints of each."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal, get_args

from torch import nn

from crossattn3d import UCANet, UNet3d
from ltvs.model.systems.attention_unet import AttentionUnet
from ltvs.model.systems.resunet import ResUnet
from ltvs.model.systems.transunet import TransUnet
from ltvs.model.systems.uctransnet import UCTransNet
from ltvs.model.systems.unet2d import unet2d
from ltvs.model.systems.uxnet import UXNet
from ltvs.model.systems.vnet import VNet
from ltvs.runtime.choices import check_choice

Network = Literal[
    "unet2d", "resunet2d", "uctransnet", "transunet",
    "unet3d", "resunet3d", "attention_unet", "vnet", "uxnet", "ucanet",
]  # fmt: skip
#: In the order of Table 1.
NETWORKS: tuple[Network, ...] = get_args(Network)


@dataclass(frozen=True)
class Printed:
    """A row of the paper's Table 1.

    Args:
        title: of the system.
        millions: of parameters.
        tumor: Dice and IoU, percent.
        vessel: Dice and IoU, percent.
        settled: whether the printed count decides the architecture, so that ours has to have it.
    """

    title: str
    millions: str
    tumor: tuple[float, float]
    vessel: tuple[float, float]
    settled: bool


TABLE_1: dict[Network, Printed] = {
    "unet2d": Printed("2D U-Net", "2.14", (76.26, 64.89), (60.30, 44.10), True),
    "resunet2d": Printed("2D ResUnet", "3.26", (76.30, 64.87), (62.45, 45.87), True),
    "uctransnet": Printed("2D UCTransNet", "65.60", (79.09, 66.26), (62.62, 46.26), False),
    "transunet": Printed("2D TransUnet", "105.48", (77.99, 64.19), (62.39, 45.63), False),
    "unet3d": Printed("3D U-Net", "6.42", (80.36, 68.96), (66.00, 49.10), True),
    "resunet3d": Printed("3D ResUnet", "9.43", (83.71, 73.50), (66.97, 50.71), True),
    "attention_unet": Printed("3D Attention Unet", "16.50", (83.01, 73.20), (66.15, 50.33), False),
    "vnet": Printed("3D V-Net", "45.60", (83.60, 72.65), (65.53, 49.98), True),
    "uxnet": Printed("3D UX-Net", "57.43", (82.81, 72.04), (66.76, 50.40), False),
    "ucanet": Printed("UCA-Net", "5.91", (84.96, 74.38), (67.47, 51.34), True),
}

#: Resolutions along the slices, each half as deep as the one before: 2D networks keep all slices apart.
LEVELS: dict[Network, int] = dict.fromkeys(NETWORKS, 1) | {
    "unet3d": 4, "resunet3d": 4, "attention_unet": 4, "vnet": 5, "uxnet": 5, "ucanet": 4,
}  # fmt: skip


_MAKERS: dict[Network, Callable[[int, int], nn.Module]] = {
    "unet2d": unet2d,
    "resunet2d": partial(ResUnet, flat=True),
    "uctransnet": UCTransNet,
    "transunet": TransUnet,
    "unet3d": UNet3d,
    "resunet3d": ResUnet,
    "attention_unet": AttentionUnet,
    "vnet": VNet,
    "uxnet": UXNet,
    "ucanet": UCANet,
}


def make_system(name: Network, in_channels: int, out_channels: int) -> nn.Module:
    """Return a system of Table 1 with new weights.

    Args:
        name: one of `NETWORKS`.
        in_channels: channels of the input, 1 for CT.
        out_channels: number of classes.

    Returns:
        A module from (b, in_channels, d, h, w), any size, to raw logits, (b, out_channels, d, h, w), with the
        attributes `in_channels`, `out_channels` and `head`, whose last convolution gives the logits.

    Raises:
        InputError: there is no such system.

    Example:
        >>> sum(p.numel() for p in make_system("unet2d", 1, 3).parameters())
        2142947
    """
    check_choice("network", name, NETWORKS)
    return _MAKERS[name](in_channels, out_channels)
