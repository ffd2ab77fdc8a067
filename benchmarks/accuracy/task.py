"""The task that every variant is given: set once, on the concatenating U-Net, before any comparison."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from ltvs.model.computing import Precision
from ltvs.model.stages import CLASSES
from ltvs.training.losses import make_loss
from ltvs.training.settings import TrainSettings

Triple = tuple[int, int, int]


@dataclass(frozen=True)
class Task:
    """The setting of a study.

    Args:
        channels: widths of the networks.
        patch: of training, (d, h, w) voxels.
        batch: patches per step.
        steps: of training.
        learning_rate: of Adam at the start; falls to 0 as half a cosine.
        background_weight: of background in the cross-entropy, which is added to Dice.
        contrast: share of each voxel's distance to the liver's median HU that is kept.
        noise: standard deviation of the noise that is added, HU.
        isodense: share of the tumors that are on average as bright as the liver.
        norm: of the networks, except for the variants that change it.
        clip_norm: largest norm of the gradients; 0 for any.
        ema: decay of the average of the weights that is tested; 0 for the last weights.
        precision: of training, as train_ltvs.py names it.
        calibrated: training cases by which the odds of each class are chosen before a network is tested; 0 for none.
    """

    channels: tuple[int, ...] = (8, 16, 32, 64)
    patch: Triple = (16, 48, 48)
    batch: int = 2
    steps: int = 600
    learning_rate: float = 1e-2
    background_weight: float = 0.5
    contrast: float = 1.5
    noise: float = 3.0
    isodense: float = 0.25
    norm: str = "batch"
    clip_norm: float = 0.0
    ema: float = 0.0
    precision: Precision = "32"
    calibrated: int = 0

    def as_dict(self) -> dict[str, Any]:
        """Return the task as JSON holds it."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    def patch_of(self, share: float) -> Triple:
        """Return a patch with `share` of the training patch's voxels: other rows and columns, as many slices."""
        d, h, w = self.patch
        side = share**0.5
        return d, round(h * side), round(w * side)

    def loss(self) -> nn.Module:
        """Return the loss: Dice of vessels and tumors plus cross-entropy."""
        return make_loss("dice_ce", len(CLASSES[2]), self.background_weight)

    def settings(self) -> TrainSettings:
        """Return the settings for the pipeline's training step; those that it does not read keep their defaults."""
        return TrainSettings(
            data=Path(),
            output=Path(),
            learning_rate=self.learning_rate,
            schedule="cosine",
            loss="dice_ce",
            background_weight=self.background_weight,
            clip_norm=self.clip_norm,
            ema=self.ema,
        )


#: The study of skips, on the scenes of data/rendered.py; frozen before any variant was compared, but for the odds.
RENDERED = Task(
    patch=(24, 48, 48),
    batch=3,
    steps=1000,
    learning_rate=3e-3,
    contrast=1.0,
    noise=0.0,
    isodense=0.0,
    clip_norm=1.0,
    ema=0.995,
    precision="bf16-mixed",
    calibrated=24,
)
#: `cpu` fits the cases of data/phantoms.py as they are. `gpu`, at the paper's widths, is for finer ones (`--matrix 352
#: --slice-spacing 1.25`) and has not been run yet. `plain` trains as the study of skips does, on cases like those of
#: `cpu`.
TASKS = {
    "cpu": Task(),
    "gpu": Task(channels=(32, 64, 128, 256), patch=(32, 160, 160), steps=1500, learning_rate=1e-3, noise=8.0),
    "rendered": RENDERED,
    "plain": replace(RENDERED, contrast=Task.contrast, noise=Task.noise, isodense=Task.isodense),
}
