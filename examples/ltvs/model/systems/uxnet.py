"""The paper's 3D UX-Net: an encoder of large depthwise kernels in a U-Net of residual blocks."""

from itertools import pairwise
from typing import cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ltvs.model.systems.parts.sizes import in_multiples

CHANNELS = (48, 96, 192, 384)
DEEPEST = 768
BLOCKS = 2


class ChannelNorm(nn.LayerNorm):
    """Layer norm of each voxel's channels.

    Example:
        >>> ChannelNorm(4)(torch.zeros(1, 4, 2, 3, 5)).shape
        torch.Size([1, 4, 2, 3, 5])
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=1e-6)

    def forward(self, x: Float[Tensor, "b c d h w"]) -> Float[Tensor, "b c d h w"]:
        """Normalize."""
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


class DepthwiseConv(nn.Conv3d):
    """Convolution of each channel with a kernel of its own, on CPUs in the precision of its weights.

    In bfloat16 and channels-last, PyTorch 2.13 computes the gradient of such kernels wrong on CPUs where the map has
    fewer slices than the kernel, and damages memory, which ends the process later.

    Args:
        channels: width of input and result.
        kernel_size: odd.

    Example:
        >>> DepthwiseConv(4, 7)(torch.zeros(1, 4, 2, 3, 5)).shape
        torch.Size([1, 4, 2, 3, 5])
    """

    def __init__(self, channels: int, kernel_size: int) -> None:
        super().__init__(channels, channels, kernel_size, padding=kernel_size // 2, groups=channels)

    def forward(self, input: Float[Tensor, "b c d h w"]) -> Float[Tensor, "b c d h w"]:  # noqa: A002 - torch's name
        """Convolve."""
        if input.device.type != "cpu":
            return super().forward(input)
        with torch.autocast("cpu", enabled=False):
            return super().forward(input.to(self.weight.dtype))


class UXBlock(nn.Module):
    """Depthwise convolution, layer norm and two 1x1x1 convolutions with GELU between, scaled and added to the input.

    Args:
        channels: width of input and result; four times as many between the 1x1x1 convolutions.
        kernel_size: of the depthwise convolution, odd.
        grouped: whether the 1x1x1 convolutions, too, keep to each channel and its four.

    Example:
        >>> UXBlock(4, 7, grouped=True)(torch.zeros(1, 4, 2, 3, 5)).shape
        torch.Size([1, 4, 2, 3, 5])
    """

    def __init__(self, channels: int, kernel_size: int, *, grouped: bool) -> None:
        super().__init__()
        groups = channels if grouped else 1
        self.depthwise = DepthwiseConv(channels, kernel_size)
        self.norm = ChannelNorm(channels)
        self.expand = nn.Conv3d(channels, 4 * channels, 1, groups=groups)
        self.reduce = nn.Conv3d(4 * channels, channels, 1, groups=groups)
        # Of one axis: a parameter of four could not be brought to channels_last_3d with the net.
        self.scale = nn.Parameter(torch.full((channels,), 1e-6))

    def forward(self, x: Float[Tensor, "b c d h w"]) -> Float[Tensor, "b c d h w"]:
        """Return a map of the same size."""
        residual = self.reduce(F.gelu(self.expand(self.norm(self.depthwise(x)))))
        return cast("Tensor", x + self.scale[:, None, None, None] * residual)


class UXEncoder(nn.Module):
    """Four stages of two blocks, at half of the input's size and so on; the result of each is normalized.

    Args:
        in_channels: channels of the input.
        kernel_size: of the depthwise convolutions.
        grouped: whether the 1x1x1 convolutions keep to each channel and its four.
    """

    def __init__(self, in_channels: int, kernel_size: int, *, grouped: bool) -> None:
        super().__init__()
        stem = nn.Conv3d(in_channels, CHANNELS[0], 7, 2, padding=3)
        halvings = [nn.Sequential(ChannelNorm(c), nn.Conv3d(c, below, 2, 2)) for c, below in pairwise(CHANNELS)]
        self.halvings = nn.ModuleList([stem, *halvings])
        self.stages = nn.ModuleList(
            nn.Sequential(*(UXBlock(c, kernel_size, grouped=grouped) for _ in range(BLOCKS))) for c in CHANNELS
        )
        self.norms = nn.ModuleList(ChannelNorm(c) for c in CHANNELS)

    def forward(self, x: Float[Tensor, "b c d h w"]) -> list[Float[Tensor, "b _ _ _ _"]]:
        """Return the map of each stage, finest first."""
        maps = []
        for halving, stage, norm in zip(self.halvings, self.stages, self.norms, strict=True):
            # On CPUs the gradient of a depthwise convolution takes up to 80 times as long in the other format.
            x = stage(halving(x).contiguous(memory_format=torch.channels_last_3d))
            maps.append(norm(x))
        return maps


class UXNet(nn.Module):
    """3D UX-Net of 48, 96, 192 and 384 channels: 53.01 M parameters.

    The paper prints 57.43 M, which neither this network, as it is published today, nor its first version has: that one
    is `kernel_size=13, grouped=False`, 58.80 M.

    Args:
        in_channels: channels of the input.
        out_channels: classes.
        kernel_size: of the depthwise convolutions, odd.
        grouped: whether the 1x1x1 convolutions of the encoder keep to each channel and its four.

    Example:
        >>> UXNet(1, 3)(torch.zeros(1, 1, 3, 16, 20)).shape
        torch.Size([1, 3, 3, 16, 20])
    """

    def __init__(self, in_channels: int, out_channels: int, *, kernel_size: int = 7, grouped: bool = True) -> None:
        from monai.networks.blocks import UnetOutBlock, UnetrBasicBlock, UnetrUpBlock

        super().__init__()
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.encoder = UXEncoder(in_channels, kernel_size, grouped=grouped)
        widths = (in_channels, *CHANNELS, DEEPEST)
        self.blocks = nn.ModuleList(
            UnetrBasicBlock(3, c, below, kernel_size=3, stride=1, norm_name="instance", res_block=True)
            for c, below in pairwise(widths)
        )
        self.decoder = nn.ModuleList(
            UnetrUpBlock(3, below, c, kernel_size=3, upsample_kernel_size=2, norm_name="instance", res_block=True)
            for c, below in pairwise(widths[1:])
        )
        finest = CHANNELS[0]
        self.last = UnetrBasicBlock(3, finest, finest, kernel_size=3, stride=1, norm_name="instance", res_block=True)
        self.head = UnetOutBlock(3, finest, out_channels)

    def forward(self, x: Float[Tensor, "b c d h w"]) -> Float[Tensor, "b k d h w"]:
        """Return logits."""
        return in_multiples(x, (16, 16, 16), self._logits)

    def _logits(self, x: Tensor) -> Tensor:
        *maps, x = (block(m) for block, m in zip(self.blocks, [x, *self.encoder(x)], strict=True))
        for i in reversed(range(len(maps))):
            x = self.decoder[i](x, maps[i])
        return cast("Tensor", self.head(self.last(x)))
