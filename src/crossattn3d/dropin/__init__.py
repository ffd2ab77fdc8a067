"""Cross-attention in the skip connections of other libraries' U-Nets: `wrap_skips` puts it in, in place."""

from crossattn3d.dropin.blocks import AttendedBlock, AttendedMap
from crossattn3d.dropin.wrapping import unwrap_skips, wrap_skips

__all__ = ["AttendedBlock", "AttendedMap", "unwrap_skips", "wrap_skips"]
