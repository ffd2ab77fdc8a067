"""The folder of a run, which training writes: settings, weights and curves of each stage.

RUN/stage1, RUN/stage2:  settings.json  best.safetensors  last.safetensors  curves.csv  curves.png  log.txt
tensorboard/  checkpoints/ during training  result.json after it
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

from torch import nn

from ltvs.dataset.digests import digest
from ltvs.dataset.layout import PreparedSet
from ltvs.dataset.provenance import content_digest
from ltvs.model.networks import NetworkSettings, make_network, read_settings, settings_json
from ltvs.model.saved import FORMAT, load_alike, stage_folder
from ltvs.model.stages import Stage
from ltvs.model.systems.transunet import TransUnet
from ltvs.model.systems.transunet_weights import load_published
from ltvs.runtime.errors import InputError
from ltvs.runtime.files import read_json, remove_leftovers, write_json
from ltvs.runtime.versions import versions
from ltvs.training.checkpoints import has_checkpoint
from ltvs.training.settings import TrainSettings

#: Settings that may change when a training is resumed: they decide where and how it is computed, but not the result.
FREE = {
    "data", "output", "split", "stage", "seeds", "workers", "accumulate", "use_checkpoint", "compile", "deterministic",
    "device", "devices", "nodes", "save_every", "estimate",
}  # fmt: skip

#: Settings that runs may lack because they are older, and what those did.
_BEFORE = {
    "augment": False, "clip_norm": 0.0, "ema": 0.0, "fixed": [], "init": None, "render": 0, "network": "ucanet",
    "liver_network": "unet3d", "pretrained": None, "gated": False,
}  # fmt: skip


#: File of the best weights of a stage.
BEST = "best.safetensors"


def checkpoint_folder(folder: Path) -> Path:
    """Return the folder of the checkpoints of a stage, which exists during training."""
    return folder / "checkpoints"


def is_trained(folder: Path) -> bool:
    """Return whether the training of a stage is complete."""
    return (folder / "result.json").is_file()


def has_begun(folder: Path) -> bool:
    """Return whether the training of a stage is complete, or there is a checkpoint to resume it from."""
    return is_trained(folder) or has_checkpoint(checkpoint_folder(folder))


def check_folder(settings: TrainSettings, stage: Stage, data: PreparedSet) -> None:
    """Raise InputError if the folder of a stage holds a training with other settings."""
    folder = stage_folder(settings.output, stage)
    if not has_begun(folder):
        if any(folder.glob("*.safetensors")):
            raise InputError(
                f"{folder}: holds weights, but no checkpoint to resume from; give another --output or remove it"
            )
        return
    _check_weights(folder)
    before, now = read_json(folder / "settings.json"), _description(settings, stage, data)
    differ = [name for name in ("format", "split", "maps") if before.get(name, []) != now[name]]
    # Older runs do not say which cases they saw.
    differ += ["cases"] if before.get("cases", now["cases"]) != now["cases"] else []
    # Older runs have the two at the top.
    predicts = before.get("prediction", before)
    differ += ["preparation"] if predicts.get("preparation") != now["prediction"]["preparation"] else []
    differ += ["network"] if _network(predicts) != settings.network_of(stage) else []
    had, has = _BEFORE | before.get("training", {}), now["training"]
    if had.get("skip") == "concat":
        # Of when a U-Net was a skip of the UCA-Net.
        had |= {"network": "unet3d", **{name: has[name] for name in ("skip", "score_norm", "residual")}}
    options = [name for name in has if name not in FREE and had.get(name) != has[name]]
    if options or differ:
        reasons = [f"--{name.replace('_', '-')} was {had.get(name)}, is {has[name]}" for name in options]
        reasons += [f"{name} of the data set or the version has changed" for name in differ if not options]
        raise InputError(
            f"{folder}: holds a training with other settings ({'; '.join(reasons)}); give the same to resume it, "
            "or another --output"
        )
    for option, given in (("init", settings.init), ("pretrained", settings.pretrained)):
        began, begins = before.get(f"{option}_weights"), now[f"{option}_weights"]
        if began and begins and began != begins:
            raise InputError(
                f"{folder}: holds a training that began with other weights than those that are in --{option} {given} "
                "now; give another --output"
            )


def _network(predicts: dict[str, Any]) -> NetworkSettings | None:
    """Return the settings of a run's network; None if they cannot be read."""
    try:
        return read_settings(predicts["network"])
    except (KeyError, TypeError, InputError):
        return None


def _check_weights(folder: Path) -> None:
    """Raise InputError if the training of a stage is complete, but its best weights are not those that it wrote."""
    if not is_trained(folder):
        return
    weights, written = folder / BEST, read_json(folder / "result.json").get("weights")
    # Older runs do not say what they wrote.
    if written is not None and digest(weights) != written:
        raise InputError(
            f"{weights}: is missing, or not as the training wrote it; put it back, remove {folder} to train again, or "
            "give another --output"
        )


def start_stage(settings: TrainSettings, stage: Stage, data: PreparedSet) -> Path:
    """Create the folder of a stage, or tidy that of a training to resume; return the folder.

    Raises:
        InputError: it holds a training with other settings, or cannot be written to.
    """
    check_folder(settings, stage, data)
    folder = stage_folder(settings.output, stage)
    remove_leftovers(folder)
    if not has_begun(folder):
        write_json(folder / "settings.json", {**_description(settings, stage, data), "versions": versions()})
    return folder


def start_network(settings: TrainSettings, stage: Stage, data: PreparedSet) -> tuple[nn.Module, str]:
    """Return the network that the training of a stage begins with, and a warning, empty if there is none.

    Its weights are those of --init or of --pretrained, or new ones. A training that has begun has its weights in the
    checkpoint: it can be resumed where what it began with is gone.

    Raises:
        InputError: the run of --init lacks the stage or is damaged, or has another network or another window; the file
            of --pretrained holds no such weights.
    """
    network = settings.network_of(stage)
    begins = not has_begun(stage_folder(settings.output, stage))
    if begins and settings.init is not None:
        return load_alike(settings.init, stage, network, data.preparation)
    net = make_network(network)
    if begins and settings.pretrained is not None and network.network == "transunet":
        load_published(cast("TransUnet", net), settings.pretrained)
    return net, ""


def _description(settings: TrainSettings, stage: Stage, data: PreparedSet) -> dict[str, Any]:
    """Return the description of a training, as JSON holds it."""
    maps = data.maps() if settings.render else ()
    used = (data.split["train"], data.split["validation"])
    content = {
        "format": FORMAT,
        "stage": stage,
        "prediction": {
            "network": settings_json(settings.network_of(stage)),
            "preparation": data.preparation.json(),
            "patch": settings.patch,
            "overlap": settings.overlap,
            "precision": settings.precision,
        },
        "training": {k: str(v) if isinstance(v, Path) else v for k, v in asdict(settings).items()},
        "split": data.split,
        "maps": [folder.name for folder in maps],
        "cases": content_digest(data.folder, [name for names in used for name in names], [f"stage{stage}"]),
        "init_weights": None if settings.init is None else digest(stage_folder(settings.init, stage) / BEST),
        "pretrained_weights": None if settings.pretrained is None else digest(settings.pretrained),
    }
    return dict(json.loads(json.dumps(content)))
