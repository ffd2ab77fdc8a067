"""Cross-attention skip connections for 3D medical image segmentation, after UCA-Net (Kuang et al., ICASSP 2023)."""

from importlib import import_module
from typing import TYPE_CHECKING

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
    "dropin",
    "export",
    "folding",
    "functional",
    "hub",
]

#: Modules that few users need: attributes of the package as the others are, but imported once they are asked for.
_ON_DEMAND = ("dropin", "export", "folding", "hub")

if TYPE_CHECKING:
    from crossattn3d import dropin, export, folding, hub
else:

    def __getattr__(name):
        if name in _ON_DEMAND:
            return import_module(f"{__name__}.{name}")
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_ON_DEMAND})
