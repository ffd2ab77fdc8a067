"""The folder of a run: settings, weights and curves of each stage, as training writes and prediction reads them.

RUN/stage1, RUN/stage2:  settings.json  best.safetensors  last.safetensors  curves.csv  curves.png  log.txt
tensorboard/  and checkpoints/ while it is trained, result.json once it is.
"""

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from crossattn3d import UNet3d
from crossattn3d.folding import fold_batch_norm
from ltvs.dataset.layout import Preparation, PreparedSet
from ltvs.model.networks import load_network, settings_json
from ltvs.model.precision import PRECISIONS, Precision
from ltvs.model.stages import STAGES, Stage
from ltvs.runtime.errors import InputError
from ltvs.runtime.files import TEMPORARY, read_json, write_json
from ltvs.runtime.versions import versions
from ltvs.training.checkpoints import has_checkpoint
from ltvs.training.settings import TrainSettings

FORMAT = 1

#: How runs from before Lightning Fabric name precisions.
_OLDER = {"float32": "32", "bfloat16": "bf16-mixed"}

#: Settings that may change when a training goes on: they say where and how it is computed, not what.
FREE = {
    "data", "output", "split", "stage", "seeds", "workers", "accumulate", "use_checkpoint", "compile", "deterministic",
    "device", "devices", "nodes", "save_every", "estimate",
}  # fmt: skip


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


def checkpoint_folder(folder: Path) -> Path:
    """Where the checkpoints of a stage are while it is trained."""
    return folder / "checkpoints"


def is_trained(folder: Path) -> bool:
    """Whether a stage has come to its end."""
    return (folder / "result.json").is_file()


def check_folder(settings: TrainSettings, stage: Stage, data: PreparedSet) -> None:
    """Raise InputError if the folder of a stage holds another training than these settings describe."""
    folder = stage_folder(settings.output, stage)
    if not (is_trained(folder) or has_checkpoint(checkpoint_folder(folder))):
        if any(folder.glob("*.safetensors")):
            raise InputError(
                f"{folder}: holds weights, and no checkpoint to go on from; give another --output or remove that folder"
            )
        return
    before, now = read_json(folder / "settings.json"), _description(settings, stage, data)
    differ = [name for name in ("format", "network", "preparation", "split") if before.get(name) != now[name]]
    had, has = before.get("training", {}), now["training"]
    options = [name for name in has if name not in FREE and had.get(name) != has[name]]
    if options or differ:
        reasons = [f"--{name.replace('_', '-')} was {had.get(name)}, is {has[name]}" for name in options]
        reasons += [f"{name} of the data set or the version has changed" for name in differ if not options]
        raise InputError(
            f"{folder}: holds a training with other settings ({'; '.join(reasons)}); give the same to go on with it, "
            "or another --output"
        )


def start_stage(settings: TrainSettings, stage: Stage, data: PreparedSet) -> Path:
    """Make the folder of a stage, or tidy that of one to go on with; return the folder.

    Raises:
        InputError: it holds another training, or cannot be written to.
    """
    check_folder(settings, stage, data)
    folder = stage_folder(settings.output, stage)
    for leftover in folder.rglob(f"{TEMPORARY}*"):
        shutil.rmtree(leftover, ignore_errors=True)
    if not (is_trained(folder) or has_checkpoint(checkpoint_folder(folder))):
        write_json(folder / "settings.json", {**_description(settings, stage, data), "versions": versions()})
    return folder


def _description(settings: TrainSettings, stage: Stage, data: PreparedSet) -> dict[str, Any]:
    """What a training is, as JSON holds it."""
    content = {
        "format": FORMAT,
        "stage": stage,
        "network": settings_json(settings.network(stage)),
        "preparation": data.preparation.json(),
        "training": {k: str(v) if isinstance(v, Path) else v for k, v in asdict(settings).items()},
        "split": data.split,
    }
    return dict(json.loads(json.dumps(content)))


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
        precision = settings["training"].get("precision", "32")
        precision = _OLDER.get(precision, precision)
        if precision not in PRECISIONS:
            raise ValueError(f"precision {precision}")
        network, preparation = settings["network"], Preparation.from_json(settings["preparation"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{folder / 'settings.json'}: lacks what prediction needs ({error!r}); train it again"
        ) from error
    net = fold_batch_norm(load_network(network, folder / "best.safetensors"))
    return TrainedStage(net, preparation, (d, h, w), (shared_d, shared_h, shared_w), precision)
