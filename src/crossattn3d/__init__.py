"""Cross-attention skip connections for 3D medical image segmentation, after UCA-Net (Kuang et al., ICASSP 2023)."""

from crossattn3d import functional
from crossattn3d._version import __version__
from crossattn3d.attention import CSCA, AttentionMaps, ChannelCrossAttention3d, SliceCrossAttention3d
from crossattn3d.ucanet import UCANet
from crossattn3d.unet import ConcatSkip, UNet3d

__all__ = [
    "CSCA",
    "AttentionMaps",
    "ChannelCrossAttention3d",
    "ConcatSkip",
    "SliceCrossAttention3d",
    "UCANet",
    "UNet3d",
    "__version__",
    "functional",
]
