"""A trained stage, read from the folder of a run.

RUN/stage1, RUN/stage2:  settings.json  best.safetensors

Of settings.json it reads `format` and `prediction`: network, preparation, patch, overlap and precision.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from torch import nn

from crossattn3d.folding import fold_batch_norm
from ltvs.model.computing import PRECISIONS, Precision
from ltvs.model.networks import NetworkSettings, load_network, read_settings
from ltvs.model.stage_view import Preparation
from ltvs.model.stages import STAGES, Stage
from ltvs.runtime.errors import InputError
from ltvs.runtime.files import read_json

FORMAT = 1

#: Names of precisions in runs from before Lightning Fabric.
_OLD_PRECISIONS = {"float32": "32", "bfloat16": "bf16-mixed"}


@dataclass(frozen=True)
class TrainedStage:
    """A trained network, ready to predict with.

    Args:
        net: the network in eval mode, with the batch normalization of the package's blocks folded.
        preparation: how the CTs that it was trained on were prepared.
        patch: (d, h, w) of a patch in voxels.
        overlap: (d, h, w) of the voxels that neighboring patches share.
        precision: the precision of the layers in training.
    """

    net: nn.Module
    preparation: Preparation
    patch: tuple[int, int, int]
    overlap: tuple[int, int, int]
    precision: Precision

    @classmethod
    def from_json(cls, net: nn.Module, prediction: dict[str, Any]) -> Self:
        """Return the stage of a network that is loaded.

        Args:
            net: in eval mode.
            prediction: `preparation`, `patch`, `overlap` and `precision`, as JSON holds them.

        Raises:
            KeyError, TypeError, ValueError: something is missing or unusable.
        """
        (d, h, w), (shared_d, shared_h, shared_w) = prediction["patch"], prediction["overlap"]
        if (precision := prediction["precision"]) not in PRECISIONS:
            raise ValueError(f"precision {precision}")
        preparation = Preparation.from_json(prediction["preparation"])
        return cls(fold_batch_norm(net), preparation, (d, h, w), (shared_d, shared_h, shared_w), precision)


def stage_folder(run: Path, stage: Stage) -> Path:
    """Return the folder of a stage in a run."""
    return run / f"stage{stage}"


def stage_inputs(run: Path) -> dict[str, Path | None]:
    """Return the folders of a run that a command reads, by the words that name them where it may not write to them."""
    return {f"stage {stage} of {run}": stage_folder(run, stage) for stage in STAGES}


def load_stage(run: Path, stage: Stage) -> TrainedStage:
    """Load the best network of a stage.

    Raises:
        InputError: the run lacks the stage, or its files are damaged.
    """
    net, prediction = load_unfolded(run, stage)
    try:
        return TrainedStage.from_json(net, prediction)
    except (KeyError, TypeError, ValueError) as error:
        raise _lacking(stage_folder(run, stage), error) from error


def load_unfolded(run: Path, stage: Stage) -> tuple[nn.Module, dict[str, Any]]:
    """Load the best network of a stage as it was trained, and the part of its settings that prediction needs.

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
        prediction = settings["prediction"] if "prediction" in settings else _from_old_settings(settings)
        network = prediction["network"]
    except (KeyError, TypeError) as error:
        raise _lacking(folder, error) from error
    return load_network(network, folder / "best.safetensors"), prediction


def load_alike(run: Path, stage: Stage, network: NetworkSettings, preparation: Preparation) -> tuple[nn.Module, str]:
    """Load the best network of a stage to train it on, and say if it has seen CTs on other grids.

    Args:
        run: given as --init.
        stage: 1 or 2.
        network: of the training that begins with it.
        preparation: of the CTs of that training.

    Returns:
        The network, in eval mode, and a warning, empty if the stage's grid is the same.

    Raises:
        InputError: the run lacks the stage, its files are damaged, its network has other settings, or its CTs were
            clipped to another window, so that its input meant something else.
    """
    net, prediction = load_unfolded(run, stage)
    try:
        before = Preparation.from_json(prediction["preparation"])
    except (KeyError, TypeError, ValueError) as error:
        raise _lacking(stage_folder(run, stage), error) from error
    _check_network(run, stage, read_settings(prediction["network"]), network)
    if before.window != preparation.window:
        (low, high), (low_now, high_now) = before.window, preparation.window
        raise InputError(
            f"--init {run}: expected stage {stage} to have seen {low_now:g} to {high_now:g} HU, as the data set is "
            f"prepared; got {low:g} to {high:g} HU; prepare the data set with --window {low:g} {high:g}"
        )
    now = _grid(preparation, stage)
    differ = [
        f"--{name} was {had:g}, is {now[name]:g}" for name, had in _grid(before, stage).items() if had != now[name]
    ]
    return net, f"--init {run}: stage {stage} was trained on other grids ({', '.join(differ)})" if differ else ""


def _check_network(run: Path, stage: Stage, had: NetworkSettings, now: NetworkSettings) -> None:
    """Raise InputError if networks with these settings cannot have the same weights, or would not mean the same."""
    before, wanted = asdict(had), asdict(now)
    differ = [name for name in wanted if before[name] != wanted[name]]
    if "network" in differ:
        # Another one has other settings.
        differ = [name for name in differ if name in ("classes", "network")]
    if differ:
        expected, got = (", ".join(f"{name} {_words(s[name])}" for name in differ) for s in (wanted, before))
        options = " ".join(_option(stage, name, before[name]) for name in differ)
        remedy = "begin with another run, as a stage's classes are fixed" if "classes" in differ else f"give {options}"
        raise InputError(f"--init {run}: expected a stage {stage} with {expected}; got {got}; {remedy}")


def _option(stage: Stage, name: str, value: Any) -> str:
    """Return the words of train_ltvs.py's command line that set a setting of the network."""
    if isinstance(value, bool):
        return f"--{name}" if value else f"--no-{name}"
    if name == "network" and stage == 1:
        name = "liver_network"
    return f"--{name.replace('_', '-')} {_words(value)}"


def _words(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _grid(preparation: Preparation, stage: Stage) -> dict[str, float]:
    """Return the grid of a stage, named like the options of prepare_ltvs.py."""
    if stage == 1:
        return {"pixels": preparation.stage1.pixels, "slice-spacing": preparation.stage1.slice_spacing}
    return {
        "liver-pixels": preparation.stage2.pixels,
        "liver-slice-spacing": preparation.stage2.slice_spacing,
        "margin": preparation.margin,
    }


def _from_old_settings(settings: dict[str, Any]) -> dict[str, Any]:
    """Gather what is now `prediction` from the settings of an older run."""
    training = settings["training"]
    precision = training.get("precision", "32")
    return {
        "network": settings["network"],
        "preparation": settings["preparation"],
        "patch": training["patch"],
        "overlap": training["overlap"],
        "precision": _OLD_PRECISIONS.get(precision, precision),
    }


def _lacking(folder: Path, error: Exception) -> InputError:
    return InputError(f"{folder / 'settings.json'}: lacks what prediction needs ({error!r}); train it again")
