"""For now what `plain` does; becomes one operation over the passes of `streaming`."""

from crossattn3d.kernels.plain import channel_attention, cross_attention, slice_attention

__all__ = ["channel_attention", "cross_attention", "slice_attention"]
