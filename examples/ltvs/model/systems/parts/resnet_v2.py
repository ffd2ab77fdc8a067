"""The convolutions before TransUnet's transformer: three stages of a ResNet-50 whose weights are standardized."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

#: Of GroupNorm and LayerNorm, as the published weights were trained with.
EPS = 1e-6


class StandardizedConv(nn.Conv2d):
    """A convolution without bias whose kernels have mean 0 and variance 1, over all that one output channel sums.

    Args:
        in_channels: width of the input.
        out_channels: width of the result.
        kernel_size: pixels along both axes, odd.
        stride: pixels from one result to the next.

    Example:
        >>> StandardizedConv(4, 8, kernel_size=3, stride=2)(torch.zeros(1, 4, 6, 10)).shape
        torch.Size([1, 8, 3, 5])
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, padding=kernel_size // 2, bias=False)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k hs ws"]:
        """Convolve with the standardized kernels."""
        variance, mean = torch.var_mean(self.weight, dim=(1, 2, 3), correction=0, keepdim=True)
        return F.conv2d(x, (self.weight - mean) * (variance + 1e-5).rsqrt(), None, self.stride, self.padding)


class Bottleneck(nn.Module):
    """Convolutions of 1x1, 3x3 and 1x1, each with GroupNorm, plus the input, or where sizes differ a projection of it.

    Args:
        in_channels: width of the input.
        width: width of the 3x3 convolution; the result is four times as wide.
        stride: of the 3x3 convolution.

    Example:
        >>> Bottleneck(64, 64, stride=2)(torch.zeros(1, 64, 4, 6)).shape
        torch.Size([1, 256, 2, 3])
    """

    def __init__(self, in_channels: int, width: int, stride: int = 1) -> None:
        super().__init__()
        out_channels = 4 * width
        self.conv1 = StandardizedConv(in_channels, width, 1)
        self.norm1 = nn.GroupNorm(32, width, EPS)
        self.conv2 = StandardizedConv(width, width, 3, stride)
        self.norm2 = nn.GroupNorm(32, width, EPS)
        self.conv3 = StandardizedConv(width, out_channels, 1)
        self.norm3 = nn.GroupNorm(32, out_channels, EPS)
        self.projection: nn.Sequential | None = None
        if stride != 1 or in_channels != out_channels:
            # TransUNet normalizes each channel of its own here.
            self.projection = nn.Sequential(
                StandardizedConv(in_channels, out_channels, 1, stride), nn.GroupNorm(out_channels, out_channels)
            )

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k hs ws"]:
        """Return ReLU(shortcut + three convolutions)."""
        shortcut = x if self.projection is None else self.projection(x)
        x = F.relu(self.norm1(self.conv1(x)))
        x = F.relu(self.norm2(self.conv2(x)))
        return F.relu(shortcut + self.norm3(self.conv3(x)))


def _stage(in_channels: int, width: int, units: int, stride: int) -> nn.Sequential:
    first = Bottleneck(in_channels, width, stride)
    return nn.Sequential(first, *(Bottleneck(4 * width, width) for _ in range(units - 1)))


class ResNetV2(nn.Module):
    """A 7x7 convolution and three stages of bottlenecks, which halve the map four times in all.

    Args:
        in_channels: width of the input.
        units: bottlenecks of each stage.

    Example:
        >>> x, skips = ResNetV2(3, units=(1, 1, 1))(torch.zeros(1, 3, 32, 48))
        >>> x.shape, [skip.shape[1] for skip in skips]
        (torch.Size([1, 1024, 2, 3]), [64, 256, 512])
    """

    def __init__(self, in_channels: int, units: Sequence[int] = (3, 4, 9)) -> None:
        super().__init__()
        self.root = nn.Sequential(
            StandardizedConv(in_channels, 64, 7, stride=2), nn.GroupNorm(32, 64, EPS), nn.ReLU(inplace=True)
        )
        # The last window of an axis is one pixel short, so that the map is halved.
        self.pool = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.stages = nn.ModuleList(
            [_stage(64, 64, units[0], 1), _stage(256, 128, units[1], 2), _stage(512, 256, units[2], 2)]
        )

    def forward(self, x: Float[Tensor, "n c h w"]) -> tuple[Float[Tensor, "n 1024 hs ws"], list[Tensor]]:
        """Return the map at 1/16 of the size, and those at 1/2, 1/4 and 1/8 for the decoder."""
        skips = [self.root(x)]
        x = self.pool(skips[0])
        for stage in self.stages:
            x = stage(x)
            skips.append(x)
        return skips.pop(), skips
