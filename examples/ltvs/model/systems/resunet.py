"""The paper's 2D and 3D ResUnet: a U-Net of pre-activated residual units, which halves by strides and never pools."""

from functools import partial
from itertools import pairwise
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ltvs.model.systems.parts.sizes import in_multiples

CHANNELS = (32, 64, 128, 256)
Triple = tuple[int, int, int]


class ResidualUnit(nn.Module):
    """Batch norm, ReLU and convolution, twice, plus a convolution of the input with batch norm.

    Args:
        in_channels: width of the input.
        out_channels: width of the result.
        kernel_size: voxels along (d, h, w), odd, of all three convolutions.
        stride: of the first convolution and of the shortcut.

    Example:
        >>> ResidualUnit(2, 4, (3, 3, 3), (2, 2, 2))(torch.zeros(1, 2, 4, 6, 8)).shape
        torch.Size([1, 4, 2, 3, 4])
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: Triple, stride: Triple | int = 1) -> None:
        super().__init__()
        conv = partial(nn.Conv3d, kernel_size=kernel_size, padding=half(kernel_size))
        self.residual = nn.Sequential(
            nn.BatchNorm3d(in_channels),
            nn.ReLU(inplace=True),
            conv(in_channels, out_channels, stride=stride),
            nn.BatchNorm3d(out_channels),
            nn.ReLU(inplace=True),
            conv(out_channels, out_channels),
        )
        self.shortcut = nn.Sequential(conv(in_channels, out_channels, stride=stride), nn.BatchNorm3d(out_channels))

    def forward(self, x: Float[Tensor, "b c d h w"]) -> Float[Tensor, "b k d2 h2 w2"]:
        """Return the sum of both branches."""
        return cast("Tensor", self.residual(x) + self.shortcut(x))


class ResUnet(nn.Module):
    """ResUnet of 32, 64, 128 and 256 channels: 9.43 M parameters in 3D, 3.26 M in 2D, as the paper prints.

    Args:
        in_channels: channels of the input.
        out_channels: classes.
        flat: 2D, through kernels of (1, 3, 3) and strides of (1, 2, 2): the slices are a batch.

    Example:
        >>> ResUnet(1, 3)(torch.zeros(1, 1, 3, 16, 20)).shape
        torch.Size([1, 3, 3, 16, 20])
    """

    def __init__(self, in_channels: int, out_channels: int, *, flat: bool = False) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.out_channels = out_channels
        kernel_size, stride = ((1, 3, 3), (1, 2, 2)) if flat else ((3, 3, 3), (2, 2, 2))
        self.multiples = (1, 8, 8) if flat else (8, 8, 8)
        conv = partial(nn.Conv3d, kernel_size=kernel_size, padding=half(kernel_size))
        finest = CHANNELS[0]
        self.residual = nn.Sequential(
            conv(in_channels, finest), nn.BatchNorm3d(finest), nn.ReLU(inplace=True), conv(finest, finest)
        )
        self.shortcut = conv(in_channels, finest)
        self.encoder = nn.ModuleList(ResidualUnit(c, below, kernel_size, stride) for c, below in pairwise(CHANNELS))
        self.ups = nn.ModuleList(nn.ConvTranspose3d(c, c, stride, stride) for c in CHANNELS[1:])
        self.decoder = nn.ModuleList(ResidualUnit(c + below, c, kernel_size) for c, below in pairwise(CHANNELS))
        self.head = nn.Conv3d(finest, out_channels, 1)

    def forward(self, x: Float[Tensor, "b c d h w"]) -> Float[Tensor, "b k d h w"]:
        """Return logits."""
        return in_multiples(x, self.multiples, self._logits)

    def _logits(self, x: Tensor) -> Tensor:
        x = self.residual(x) + self.shortcut(x)
        maps = []
        for unit in self.encoder:
            maps.append(x)
            x = unit(x)
        for i in reversed(range(len(maps))):
            x = self.decoder[i](torch.cat([maps[i], self.ups[i](x)], dim=1))
        return cast("Tensor", self.head(x))


def half(kernel_size: Triple) -> Triple:
    """Return the padding with which a convolution keeps the size.

    Example:
        >>> half((1, 3, 5))
        (0, 1, 2)
    """
    d, h, w = kernel_size
    return d // 2, h // 2, w // 2
