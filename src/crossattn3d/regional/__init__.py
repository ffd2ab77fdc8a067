"""Logits in a region of the input alone, in a fraction of the time and memory of whole maps, and equal to them.

Half of a network's multiplications are those of its finest level. There, the encoder's map is known in advance where
the input is 0, and the decoder's map matters to no logits but those beside it. So both are computed in tiles.
"""

from crossattn3d.regional.net import RegionalNet, is_regional

__all__ = ["RegionalNet", "is_regional"]
