"""The paper's 3D V-Net."""

from typing import cast

from jaxtyping import Float
from torch import Tensor, nn

from ltvs.model.systems.parts.sizes import in_multiples


class VNet(nn.Module):
    """MONAI's VNet with ReLU: 45.60 M parameters, as the paper prints.

    In training, half of the channels are dropped at the two deepest levels of the encoder and of the decoder, and half
    of the skips', as MONAI has it.

    Args:
        in_channels: channels of the input, a divisor of 16: the first block repeats them to 16 and adds them.
        out_channels: classes.

    Raises:
        ValueError: in_channels does not divide 16.

    Example:
        >>> import torch
        >>> VNet(1, 3).eval()(torch.zeros(1, 1, 3, 16, 20)).shape
        torch.Size([1, 3, 3, 16, 20])
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        from monai.networks.nets import VNet as MonaiNet

        super().__init__()
        if in_channels not in (1, 2, 4, 8, 16):
            raise ValueError(f"VNet: expected in_channels that divide 16, to be repeated to 16; got {in_channels}")
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.net = MonaiNet(3, in_channels, out_channels, act="relu")

    @property
    def head(self) -> nn.Module:
        """The block that ends with the logits."""
        return cast("nn.Module", self.net.out_tr)

    def forward(self, x: Float[Tensor, "b c d h w"]) -> Float[Tensor, "b k d h w"]:
        """Return logits."""
        return in_multiples(x, (16, 16, 16), self.net)
