"""The paper's 2D U-Net."""

from crossattn3d import UNet3d


def unet2d(in_channels: int, out_channels: int) -> UNet3d:
    """Return the paper's 2D U-Net: 32, 64, 128 and 256 channels, 2.14 M parameters.

    Kernels of (1, 3, 3) and strides of (1, 2, 2) make the package's 3D U-Net exactly the 2D U-Net on the slices as a
    batch: no slice sees another one, and batch norm goes over all pixels of all slices.

    Args:
        in_channels: channels of the input.
        out_channels: classes.

    Example:
        >>> import torch
        >>> unet2d(1, 3)(torch.zeros(1, 1, 2, 16, 20)).shape
        torch.Size([1, 3, 2, 16, 20])
    """
    return UNet3d(in_channels, out_channels, kernel_sizes=((1, 3, 3),) * 4, strides=((1, 2, 2),) * 3)
