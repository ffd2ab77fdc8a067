"""The paper's 3D Attention Unet, as far as it can be told."""

from typing import cast

from jaxtyping import Float
from torch import Tensor, nn

from ltvs.model.systems.parts.sizes import in_multiples


class AttentionUnet(nn.Module):
    """MONAI's AttentionUnet of 64, 128, 256 and 320 channels: 16.46 M parameters.

    The paper prints 16.50 M, which no documented net has: this one is the nearest, and not a match.

    Args:
        in_channels: channels of the input.
        out_channels: classes.

    Example:
        >>> import torch
        >>> AttentionUnet(1, 3)(torch.zeros(1, 1, 3, 8, 10)).shape
        torch.Size([1, 3, 3, 8, 10])
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        from monai.networks.nets import AttentionUnet as MonaiNet

        super().__init__()
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.net = MonaiNet(3, in_channels, out_channels, channels=(64, 128, 256, 320), strides=(2, 2, 2))

    @property
    def head(self) -> nn.Module:
        """The block that ends with the logits."""
        return cast("nn.Sequential", self.net.model)[-1]

    def forward(self, x: Float[Tensor, "b c d h w"]) -> Float[Tensor, "b k d h w"]:
        """Return logits."""
        return in_multiples(x, (8, 8, 8), self.net)
