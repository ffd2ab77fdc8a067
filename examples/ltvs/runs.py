"""The folder of a run: settings, weights and curves of each stage, as training writes and prediction reads them.

RUN/stage1, RUN/stage2:  settings.json  best.safetensors  last.safetensors  curves.csv  tensorboard/
"""

import csv
import math
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import monai
import torch
from torch.utils.tensorboard import SummaryWriter

import crossattn3d
from crossattn3d import UNet3d
from crossattn3d.folding import fold_batch_norm
from ltvs.errors import InputError
from ltvs.files import read_json, write_json
from ltvs.networks import load_network, settings_json
from ltvs.precision import PRECISIONS, Precision
from ltvs.prepared import Preparation, PreparedSet
from ltvs.settings import TrainSettings
from ltvs.stages import STAGES, Stage

FORMAT = 1


@dataclass(frozen=True)
class TrainedStage:
    """One trained network, ready to predict with, and how its input has to be made."""

    net: UNet3d
    preparation: Preparation
    patch: tuple[int, int, int]
    overlap: tuple[int, int, int]
    precision: Precision


def stage_folder(run: Path, stage: Stage) -> Path:
    """Where a stage lives in a run."""
    return run / f"stage{stage}"


def start_stage(settings: TrainSettings, stage: Stage, data: PreparedSet) -> Path:
    """Make the folder of a stage and write its settings; return the folder.

    Raises:
        InputError: the run has weights of this stage already.
    """
    folder = stage_folder(settings.output, stage)
    if any(folder.glob("*.safetensors")):
        raise InputError(f"{folder}: holds a trained stage already; give another --output or remove that folder")
    write_json(
        folder / "settings.json",
        {
            "format": FORMAT,
            "stage": stage,
            "network": settings_json(settings.network(stage)),
            "preparation": data.preparation.json(),
            "training": {k: str(v) if isinstance(v, Path) else v for k, v in asdict(settings).items()},
            "split": data.split,
            "versions": {
                "crossattn3d": crossattn3d.__version__,
                "torch": torch.__version__,
                "monai": monai.__version__,
                "python": platform.python_version(),
            },
        },
    )
    return folder


def load_stage(run: Path, stage: Stage) -> TrainedStage:
    """The best network of a stage.

    Raises:
        InputError: the run lacks the stage, or its files are damaged.
    """
    folder = stage_folder(run, stage)
    if not (folder / "best.safetensors").is_file():
        other = ", ".join(f"stage {s}" for s in STAGES if (stage_folder(run, s) / "best.safetensors").is_file())
        raise InputError(
            f"{run}: no trained stage {stage} here ({other or 'nothing'} found); train it with train_ltvs.py"
        )
    settings = read_json(folder / "settings.json")
    try:
        if settings["format"] != FORMAT:
            raise InputError(f"{folder}: format {settings['format']}, expected {FORMAT}; use the version that wrote it")
        d, h, w = settings["training"]["patch"]
        shared_d, shared_h, shared_w = settings["training"]["overlap"]
        precision = settings["training"].get("precision", "float32")
        if precision not in PRECISIONS:
            raise ValueError(f"precision {precision}")
        network, preparation = settings["network"], Preparation.from_json(settings["preparation"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{folder / 'settings.json'}: lacks what prediction needs ({error!r}); train it again"
        ) from error
    net = fold_batch_norm(load_network(network, folder / "best.safetensors"))
    return TrainedStage(net, preparation, (d, h, w), (shared_d, shared_h, shared_w), precision)


class Curves:
    """Loss and Dice per epoch, to `curves.csv` and TensorBoard, line by line.

    Args:
        folder: of the stage.
        classes: names of the classes that Dice is given for.
    """

    def __init__(self, folder: Path, classes: Sequence[str]) -> None:
        self.classes = tuple(classes)
        self.board = SummaryWriter(str(folder / "tensorboard"))
        self.file = (folder / "curves.csv").open("w", newline="", encoding="utf-8")
        self.table = csv.writer(self.file)
        self.table.writerow(["epoch", "loss", *(f"dice_{name}" for name in self.classes)])

    def __enter__(self) -> Self:
        return self

    def add(self, epoch: int, loss: float, dice: Sequence[float] | None) -> None:
        """One epoch: its mean loss, and Dice per class where it was validated."""
        self.board.add_scalar("loss", loss, epoch)
        cells = [""] * len(self.classes)
        for i, value in enumerate(dice or ()):
            if not math.isnan(value):
                self.board.add_scalar(f"dice/{self.classes[i]}", value, epoch)
                cells[i] = f"{value:.4f}"
        self.table.writerow([epoch, f"{loss:.5f}", *cells])
        self.file.flush()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.board.close()
        self.file.close()
