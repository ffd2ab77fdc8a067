"""Networks with a known output in place of trained ones, and CT values that suit them."""

import numpy as np
import torch
from torch import Tensor, nn

from ltvs.model.saved import TrainedStage
from ltvs.model.stage_view import Preparation, StageGrid
from ltvs.volume.labels import LIVER, TUMOR, VESSEL

#: Finer than the tiny case, so that labels come back as they were but for their edges.
PREPARATION = Preparation((-160.0, 240.0), StageGrid(48, 1.0), StageGrid(48, 0.8), 4.0)
PATCH = (16, 48, 48)
HU = {LIVER: 100, VESSEL: 150, TUMOR: 240}


class Ranges(nn.Module):
    """A network that assigns each voxel to the class whose range its value lies in."""

    def __init__(self, *ranges: tuple[float, float]) -> None:
        super().__init__()
        self.ranges = ranges
        self.out_channels = len(ranges)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([9.0 * ((low <= x) & (x < high)).float() for low, high in self.ranges], dim=1)


def known_stages(preparation: Preparation, patch: tuple[int, int, int]) -> dict[int, TrainedStage]:
    """Return both stages, with thresholds halfway between the values of their classes.

    Stage 1 sees (HU + 160) / 50 and separates fat from liver; stage 2 sees (HU - 100) / 50.
    """
    overlap = (patch[0] // 2, 0, 0)
    ranges = {1: ((-9, 3.4), (3.4, 99)), 2: ((-9, 0.5), (0.5, 1.9), (1.9, 9))}
    return {k: TrainedStage(Ranges(*cuts), preparation, patch, overlap, "32") for k, cuts in ranges.items()}


def hu_of(labels: np.ndarray) -> np.ndarray:
    """Return HU with a distinct value for every label, and -80 around them, but air along the first row."""
    hu = np.full(labels.shape, -80, dtype=np.int16)
    hu[:, :1] = -1000
    for label, value in HU.items():
        hu[labels == label] = value
    return hu
