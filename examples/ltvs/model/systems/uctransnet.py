"""UCTransNet (Wang et al. 2022): a U-Net whose skips exchange their channels, and whose decoder weights those."""

from itertools import pairwise
from typing import cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ltvs.model.systems.parts.channel_transformer import ChannelTransformer
from ltvs.model.systems.parts.sizes import in_multiples
from ltvs.model.systems.parts.slices import slice_by_slice

#: Widths of the encoder, from the full size on; the last of them is no skip.
ENCODER = (64, 128, 256, 512, 512)
#: Widths of the decoder's results, up to the full size.
DECODER = (256, 128, 64, 64)
#: Pixels along an axis that make a token of each skip.
PATCHES = (16, 8, 4, 2)


def conv_unit(in_channels: int, out_channels: int) -> list[nn.Module]:
    """Return a convolution of 3x3 with bias, batch normalization and ReLU."""
    return [
        nn.Conv2d(in_channels, out_channels, 3, padding=1),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    ]


class ChannelGate(nn.Module):
    """Weights of a skip's channels, from the means of the skip and of the decoder map; ReLU follows.

    Args:
        channels: width of both.

    Example:
        >>> ChannelGate(4)(torch.zeros(1, 4, 3, 5), torch.zeros(1, 4, 3, 5)).shape
        torch.Size([1, 4, 3, 5])
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.of_skip = nn.Linear(channels, channels)
        self.of_decoder = nn.Linear(channels, channels)

    def forward(self, skip: Float[Tensor, "n c h w"], x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """Return the skip, weighted."""
        weights = torch.sigmoid((self.of_skip(skip.mean(dim=(2, 3))) + self.of_decoder(x.mean(dim=(2, 3)))) / 2)
        return F.relu(skip * weights[:, :, None, None])


class UpBlock(nn.Module):
    """A map of twice the size, the weighted skip beside it, and two convolutions.

    Args:
        channels: width of the input and of the skip.
        out_channels: width of the result.

    Example:
        >>> UpBlock(4, 2)(torch.zeros(1, 4, 2, 3), torch.zeros(1, 4, 4, 6)).shape
        torch.Size([1, 2, 4, 6])
    """

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__()
        self.gate = ChannelGate(channels)
        self.convs = nn.Sequential(*conv_unit(2 * channels, out_channels), *conv_unit(out_channels, out_channels))

    def forward(self, x: Float[Tensor, "n c h w"], skip: Float[Tensor, "n c hs ws"]) -> Float[Tensor, "n k hs ws"]:
        """Return the map of the next level."""
        x = F.interpolate(x, scale_factor=2, mode="nearest")
        return cast("Tensor", self.convs(torch.cat([self.gate(skip, x), x], dim=1)))


class UCTransNet(nn.Module):
    """The 2D UCTransNet of Table 1, which sees each slice alone.

    It has 66.63 M parameters, of which the positions of 20x20 tokens are 0.38 M; the paper printed 65.60 M. For slices
    of other sizes than 320x320 positions are interpolated. Nothing is dropped in training (docs/understand/table1.md).

    Args:
        in_channels: channels of the CT.
        out_channels: classes.

    Example:
        >>> net = UCTransNet(1, 3).eval()
        >>> with torch.inference_mode():
        ...     net(torch.zeros(1, 1, 2, 20, 24)).shape
        torch.Size([1, 3, 2, 20, 24])
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.first = nn.Sequential(*conv_unit(in_channels, ENCODER[0]))
        self.downs = nn.ModuleList(
            nn.Sequential(nn.MaxPool2d(2), *conv_unit(width, following), *conv_unit(following, following))
            for width, following in pairwise(ENCODER)
        )
        self.transformer = ChannelTransformer(ENCODER[:-1], PATCHES)
        self.ups = nn.ModuleList(UpBlock(*widths) for widths in zip(ENCODER[-2::-1], DECODER, strict=True))
        self.head = nn.Conv2d(DECODER[-1], out_channels, 1)

    def forward(self, x: Float[Tensor, "b c d h w"]) -> Float[Tensor, "b k d h w"]:
        """Return logits of a patch of any size."""
        return slice_by_slice(x, lambda slices: in_multiples(slices, (16, 16), self._of_slices))

    def _of_slices(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k h w"]:
        skips = [self.first(x)]
        for down in self.downs:
            skips.append(down(skips[-1]))
        x = skips.pop()
        for up, skip in zip(self.ups, reversed(self.transformer(skips)), strict=True):
            x = up(x, skip)
        return cast("Tensor", self.head(x))
