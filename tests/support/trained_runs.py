"""A prepared data set of two tiny patients, and runs trained on it for a few steps."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from unittest.mock import patch

from ltvs.dataset.layout import PreparedSet
from ltvs.dataset.preparing import prepare_set
from ltvs.dataset.provenance import Recipe
from ltvs.model.stage_view import Preparation, StageGrid
from ltvs.training.devices import start_processes
from ltvs.training.loop import seed_everything, train_stage
from ltvs.training.run_folder import start_network, start_stage
from ltvs.training.settings import TrainSettings
from ltvs.training.stage_training import StageTraining
from support.tiny_cases import listed, tiny_case

NAMES = ["a", "b"]
RECIPE = Recipe({"kind": "tiny"}, Preparation((-160.0, 240.0), StageGrid(16, 3.0), StageGrid(24, 1.5), 4.0), "tiny")
#: Overlap of patches; with it there are twice as many as without.
OVERLAPPING = (4, 0, 0)
QUICK = {
    "epochs": 2, "batch_size": 2, "patch": (8, 16, 16), "overlap": (0, 0, 0), "channels": (2, 3, 4),
    "workers": 0, "validate_every": 1, "learning_rate": 0.01, "device": "cpu",
}  # fmt: skip


def tiny_set(folder: Path) -> PreparedSet:
    """Prepare case a for training and validation, and case b for validation and test."""
    split = {"train": ["a"], "validation": ["a", "b"], "test": ["b"]}
    source = listed(**{name: partial(tiny_case, name) for name in NAMES})
    prepare_set(source, RECIPE, folder, 1, lambda patients: {"split.json": split})
    return PreparedSet(folder)


def tiny_settings(data: Path, output: Path, **changes: object) -> TrainSettings:
    """Return settings for a few quick steps on `tiny_set`."""
    return TrainSettings(data=data, output=output, **{**QUICK, **changes})


def train_both_stages_on_tiny_set(folder: Path) -> None:
    """Write `data`, a tiny set, and `run`: a stage 1 that finds the liver, a stage 2 trained for one epoch."""
    data = tiny_set(folder / "data")
    for stage in ({"stage": "1", "epochs": 24, "validate_every": 8}, {"stage": "2", "epochs": 1}):
        train_both(data, tiny_settings(data.folder, folder / "run", overlap=OVERLAPPING, **stage))


def train_both(data: PreparedSet, settings: TrainSettings) -> None:
    """Train the stages that the settings name, as train_ltvs.py does, but without curves.png."""
    fabric = start_processes(settings.device, settings.devices, settings.nodes, settings.precision)
    for stage in settings.stages():
        start_stage(settings, stage, data)
        seed_everything(settings.seed)
        net, _ = start_network(settings, stage, data)
        with curves_not_drawn():
            train_stage(StageTraining(data, stage, settings, fabric), net)


@contextmanager
def curves_not_drawn() -> Iterator[None]:
    """Leave out curves.png, which takes longer to draw than an epoch on `tiny_set` takes to train."""
    with patch("ltvs.training.journal.draw_curves"):
        yield
