"""The curves of a training, as a table and as a picture."""

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure
from numpy import ndarray

from ltvs.runtime.errors import InputError
from ltvs.runtime.files import atomic_path
from ltvs.volume.labels import COLORS

_DPI = 150


@dataclass(frozen=True)
class Epoch:
    """The results of one epoch.

    Args:
        epoch: its number, from 1.
        loss: mean over its steps.
        dice: of each class but background on the validation cases, nan for one that none has; None if not validated.
    """

    epoch: int
    loss: float
    dice: list[float] | None


def write_curves(history: Sequence[Epoch], classes: Sequence[str], path: Path) -> None:
    """Write the epochs as a table, atomically; cells are blank where nothing was measured."""
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["epoch", "loss", *(f"dice_{name}" for name in classes)])
        for row in history:
            dice = row.dice or [math.nan] * len(classes)
            table.writerow([row.epoch, f"{row.loss:.5f}", *("" if math.isnan(v) else f"{v:.4f}" for v in dice)])


def draw_curves(source: Path, path: Path) -> None:
    """Write a PNG of the loss and of each class's Dice over the epochs.

    Args:
        source: curves.csv of a training: epoch, loss, dice_<class>...; cells are blank where nothing was measured.
        path: of the PNG.

    Raises:
        InputError: `source` cannot be read, or lacks columns or epochs, or `path` cannot be written.
    """
    columns = _read_curves(source)
    epochs = columns["epoch"]
    dice = {name.removeprefix("dice_"): values for name, values in columns.items() if name.startswith("dice_")}
    figure = Figure(figsize=(1800 / _DPI, 660 / _DPI), dpi=_DPI, layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(epochs, columns["loss"], ".-", color="0.25", markersize=4)
    left.set(title="Training", xlabel="epoch", ylabel="loss")
    for name, values in dice.items():
        measured = np.isfinite(values)
        right.plot(epochs[measured], values[measured], ".-", color=COLORS.get(name), label=name)
    right.set(title="Validation", xlabel="epoch", ylabel="Dice", xlim=left.get_xlim(), ylim=(0, 1))
    right.legend(handles=right.get_lines(), loc="lower right")
    for axes in (left, right):
        axes.grid(color="0.9")
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png")


def _read_curves(source: Path) -> dict[str, Float[ndarray, " epochs"]]:
    """Return the columns of a table of numbers by name, with NaN for blank cells."""
    try:
        with source.open(newline="", encoding="utf-8") as file:
            names, *rows = list(csv.reader(file)) or [[]]
        table = np.array([[float(cell or "nan") for cell in row] for row in rows]).reshape(len(rows), len(names))
    except OSError as error:
        raise InputError(f"{source}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise InputError(f"{source}: expected a table of numbers as train_ltvs.py writes it ({error})") from error
    if not {"epoch", "loss"} <= set(names):
        raise InputError(
            f"{source}: expected the columns epoch, loss and dice_<class>; got {', '.join(names) or 'none'}"
        )
    if not rows:
        raise InputError(f"{source}: has no epochs yet; train for one at least")
    return dict(zip(names, table.T, strict=True))
