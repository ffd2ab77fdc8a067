"""TransUnet (Chen et al. 2021) with R50-ViT-B/16.

Convolutions, a transformer on their smallest map, and a U-Net's decoder.
"""

from typing import cast

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from ltvs.model.systems.parts.positions import LearnedPositions
from ltvs.model.systems.parts.resnet_v2 import ResNetV2
from ltvs.model.systems.parts.sizes import in_multiples
from ltvs.model.systems.parts.slices import slice_by_slice
from ltvs.model.systems.parts.vit import TransformerEncoder

#: Width of a token.
WIDTH = 768
#: Widths of the decoder, from the smallest map on, and of the skips that it gets.
DECODER = (512, 256, 128, 64, 16)
SKIPS = (512, 256, 64, 0)


class ConvUnit(nn.Sequential):
    """Convolution of 3x3 without bias, batch normalization and ReLU.

    Args:
        in_channels: width of the input.
        out_channels: width of the result.

    Example:
        >>> ConvUnit(2, 4)(torch.zeros(1, 2, 3, 5)).shape
        torch.Size([1, 4, 3, 5])
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(
            nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
        )


class UpBlock(nn.Module):
    """A map of twice the size, linearly between the pixels, a skip beside it, and two convolutions.

    Args:
        in_channels: width of the input.
        skip_channels: width of the skip; 0 for none.
        out_channels: width of the result.

    Example:
        >>> UpBlock(8, 2, 4)(torch.zeros(1, 8, 2, 3), torch.zeros(1, 2, 4, 6)).shape
        torch.Size([1, 4, 4, 6])
    """

    def __init__(self, in_channels: int, skip_channels: int, out_channels: int) -> None:
        super().__init__()
        self.convs = nn.Sequential(
            ConvUnit(in_channels + skip_channels, out_channels), ConvUnit(out_channels, out_channels)
        )

    def forward(
        self, x: Float[Tensor, "n c h w"], skip: Float[Tensor, "n cs hs ws"] | None = None
    ) -> Float[Tensor, "n k hs ws"]:
        """Return the map of the next level."""
        x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)
        return cast("Tensor", self.convs(x if skip is None else torch.cat([x, skip], dim=1)))


class TransUnet(nn.Module):
    """The 2D TransUnet of Table 1, which sees each slice alone.

    Its weights are random; `transunet_weights.load_published` reads those of a user's file, as the paper's were trained
    from. It has 105.43 M parameters, of which the positions of 20x20 tokens are 0.31 M; the paper printed 105.48 M. For
    slices of other sizes than 320x320 positions are interpolated. Nothing is dropped in training
    (docs/understand/table1.md).

    Args:
        in_channels: channels of the CT; a single one is repeated to the three that the published weights know.
        out_channels: classes.

    Example:
        >>> net = TransUnet(1, 3).eval()
        >>> with torch.inference_mode():
        ...     net(torch.zeros(1, 1, 2, 20, 24)).shape
        torch.Size([1, 3, 2, 20, 24])
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.stem = ResNetV2(3 if in_channels == 1 else in_channels)
        self.embedding = nn.Conv2d(1024, WIDTH, 1)
        self.positions = LearnedPositions(WIDTH)
        self.transformer = TransformerEncoder(WIDTH)
        self.bottom = ConvUnit(WIDTH, DECODER[0])
        self.ups = nn.ModuleList(UpBlock(*widths) for widths in zip(DECODER[:-1], SKIPS, DECODER[1:], strict=True))
        self.head = nn.Conv2d(DECODER[-1], out_channels, 3, padding=1)

    def forward(self, x: Float[Tensor, "b c d h w"]) -> Float[Tensor, "b k d h w"]:
        """Return logits of a patch of any size."""
        return slice_by_slice(x, lambda slices: in_multiples(slices, (16, 16), self._of_slices))

    def _of_slices(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k h w"]:
        if self.in_channels == 1:
            x = x.expand(-1, 3, -1, -1)
        x, skips = self.stem(x)
        x = self.positions(self.embedding(x))
        tokens = self.transformer(rearrange(x, "n c h w -> n (h w) c"))
        x = self.bottom(rearrange(tokens, "n (h w) c -> n c h w", h=x.shape[2]))
        for up, skip in zip(self.ups, [*reversed(skips), None], strict=True):
            x = up(x, skip)
        return cast("Tensor", self.head(x))
