"""Every setting of training, with the paper's values as defaults; the command line is made from it."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch

from crossattn3d.functional import ScoreNorm
from crossattn3d.norms import Norm
from ltvs.errors import InputError
from ltvs.networks import NetworkSettings, Skip
from ltvs.precision import Precision, check_precision
from ltvs.stages import CLASSES, PATCH, STAGES, Stage


def best_device() -> str:
    """`cuda` where there is one, else `cpu`."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def check_device(name: str) -> None:
    """Raise InputError if PyTorch cannot compute on the device of this name."""
    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"--device {name}: expected cpu, cuda, cuda:1, ... that is there; {reason}") from error


@dataclass(frozen=True)
class TrainSettings:
    """Settings of training."""

    data: Path
    """Prepared data set, a folder written by prepare_ltvs.py."""
    output: Path
    """Folder of the run; each stage gets a folder in it."""
    split: Path = Path("split.json")
    """Which cases train, validate and test: split.json, fold1.json, ... of the data set, or a file of your own."""
    stage: Literal["1", "2", "both"] = "both"
    """1 finds the liver (3D U-Net), 2 the vessels and tumors in it (UCA-Net)."""
    epochs: int = 300
    """Passes over all patches of the training cases."""
    batch_size: int = 4
    """Patches in a step."""
    learning_rate: float = 1e-3
    """Of Adam, at the start."""
    schedule: Literal["constant", "cosine"] = "constant"
    """Learning rate over the run: constant, or falling to 0 as half a cosine."""
    loss: Literal["dice", "dice_ce"] = "dice"
    """Dice loss, or the sum of Dice and cross-entropy."""
    background_weight: float = 1.0
    """Of dice_ce: weight of background in the cross-entropy, where every other class weighs 1."""
    rotation: float = 15.0
    """Largest random rotation about the body axis, degrees to either side; 0 for none."""
    jitter: float = 4.0
    """Stage 2: the surface of the liver it is shown is moved by up to this, mm, as stage 1 errs; 0 for true livers."""
    patch: tuple[int, int, int] = PATCH
    """Patch as slices, rows, columns; voxels of the prepared grid."""
    overlap: tuple[int, int, int] = (16, 0, 0)
    """What neighbouring patches share, along slices, rows, columns; voxels."""
    foreground: float = 0.0
    """Share of patches that lie about a random voxel of a random class but background, as tumors are small; 0 to 1."""
    channels: tuple[int, ...] = (32, 64, 128, 256)
    """Width of each level of both networks, finest first."""
    skip: Skip = "csca"
    """Skip connection of stage 2: csca, cca or sca attention, or concat for a 3D U-Net."""
    score_norm: ScoreNorm = "instance"
    """How the attention's scores are normalised before the softmax."""
    residual: bool = False
    """Whether the decoder map is added to the attention's result."""
    norm: Norm = "batch"
    """Normalisation after each convolution."""
    validate_every: int = 5
    """Epochs between validations; the best weights by validation Dice are kept."""
    calibrate: bool = False
    """At the end, shift the best network's logit of background so that Dice on the validation cases is highest."""
    seed: int = 0
    """Of the weights, the order of patches and the rotations."""
    workers: int = 2
    """Processes that read and rotate patches; 0 does it in the main one."""
    precision: Precision = "float32"
    """What the layers compute in, here and in prediction; bfloat16 takes half the memory and often half the time."""
    use_checkpoint: bool = False
    """Compute the layers again in the backward pass instead of keeping them: less memory, more time."""
    device: str = field(default_factory=best_device)
    """Where to train: cpu, cuda, cuda:1, ..."""

    def __post_init__(self) -> None:
        least = {"epochs": 1, "batch_size": 1, "validate_every": 1, "workers": 0, "rotation": 0, "jitter": 0, "seed": 0}
        for name, bound in least.items():
            if getattr(self, name) < bound:
                raise InputError(f"--{name.replace('_', '-')}: expected {bound} or more; got {getattr(self, name)}")
        check_device(self.device)
        check_precision(self.precision, self.device, self.patch[0], len(self.channels))
        if not self.learning_rate > 0:
            raise InputError(f"--learning-rate: expected more than 0; got {self.learning_rate}")
        if not self.background_weight >= 0:
            raise InputError(f"--background-weight: expected 0 or more; got {self.background_weight}")
        if not 0 <= self.foreground <= 1:
            raise InputError(f"--foreground: expected a share from 0 to 1; got {self.foreground}")
        if any(not 0 <= o < p for o, p in zip(self.overlap, self.patch, strict=True)):
            raise InputError(f"--overlap: expected 0 or more and less than the patch {self.patch}; got {self.overlap}")

    def stages(self) -> tuple[Stage, ...]:
        """The stages to train, in order."""
        return tuple(stage for stage in STAGES if self.stage in (str(stage), "both"))

    def network(self, stage: Stage) -> NetworkSettings:
        """What the network of a stage is made from: stage 1 is always the 3D U-Net."""
        return NetworkSettings(
            classes=len(CLASSES[stage]),
            skip="concat" if stage == 1 else self.skip,
            channels=self.channels,
            norm=self.norm,
            score_norm=self.score_norm,
            residual=self.residual,
        )
