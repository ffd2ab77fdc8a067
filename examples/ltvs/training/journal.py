"""The output of a training while it runs: a progress bar, a line per epoch in a file, and curves."""

import csv
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure
from numpy import ndarray
from tqdm import tqdm

from ltvs.model.stages import CLASSES
from ltvs.runtime.errors import InputError
from ltvs.runtime.event_file import EventFile, Point
from ltvs.runtime.files import atomic_path
from ltvs.training.stage_training import StageTraining
from ltvs.volume.labels import COLORS

_DPI = 150


@dataclass(frozen=True)
class Epoch:
    """The results of one epoch.

    Args:
        epoch: its number, from 1.
        loss: mean over its steps.
        dice: of each class but background on the validation cases, nan for one that none has; None if not validated.
        time: of its end, seconds since 1970; 0 if unknown, as in older checkpoints.
    """

    epoch: int
    loss: float
    dice: list[float] | None
    time: float = 0.0


class Journal:
    """The journal of the training of one stage, which rank 0 writes; silent in the other processes.

    Args:
        task: the training.
        steps: of an epoch.
        history: the epochs that are done.
        step: number of steps of the next one that are done.

    Raises:
        InputError: the folder of the stage cannot be written to.
    """

    def __init__(self, task: StageTraining, steps: int, history: Sequence[Epoch], step: int) -> None:
        self.folder = task.folder if task.fabric.is_global_zero else None
        self.classes = CLASSES[task.stage][1:]
        self.epochs = task.settings.epochs
        self.batch_size = task.settings.batch_size
        self.dice: list[float] | None = None
        self._started = time.monotonic()
        self._seconds, self._patches = 0.0, 0
        self._bar: tqdm[Any] = tqdm(
            total=self.epochs * steps * self.batch_size,
            initial=(len(history) * steps + step) * self.batch_size,
            desc=f"stage {task.stage}",
            dynamic_ncols=True,
            # A terminal is updated every second; a file gets a line every half minute.
            mininterval=1.0 if sys.stderr.isatty() else 30.0,
            smoothing=0,
            bar_format="{desc} {percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}",
            disable=self.folder is None,
        )
        if self.folder is not None:
            self._board = EventFile(self.folder / "tensorboard", map(self._point, history))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()

    def say(self, text: str) -> None:
        """Append a line with the date to `log.txt`."""
        if self.folder is not None:
            with (self.folder / "log.txt").open("a", encoding="utf-8") as file:
                file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {text}\n")

    def step(self, epoch: int, loss: float, seconds: float) -> None:
        """Show a step.

        Args:
            epoch: its epoch.
            loss: mean of the epoch so far.
            seconds: that the step took.
        """
        self._seconds += seconds
        self._patches += self.batch_size
        self._bar.set_postfix_str(f"epoch {epoch}/{self.epochs}  {self._measured(loss, self.dice)}", refresh=False)
        self._bar.update(self.batch_size)

    def epoch(self, history: Sequence[Epoch]) -> None:
        """Record the last of these epochs, which has ended."""
        if self.folder is None:
            return
        done = history[-1]
        self._board.add(self._point(done))
        write_curves(history, self.classes, self.folder / "curves.csv")
        if done.dice is not None:
            self.dice = done.dice
            self._bar.set_postfix_str(
                f"epoch {done.epoch}/{self.epochs}  {self._measured(done.loss, done.dice)}", refresh=False
            )
            draw_curves(self.folder / "curves.csv", self.folder / "curves.png")
        minutes, seconds = divmod(round(time.monotonic() - self._started), 60)
        line = f"epoch {done.epoch}/{self.epochs}  {self._measured(done.loss, done.dice)}  {minutes}:{seconds:02d}"
        self.say(line)
        self._started = time.monotonic()
        self._seconds, self._patches = 0.0, 0

    def _point(self, epoch: Epoch) -> Point:
        named = zip(self.classes, epoch.dice or (), strict=False)
        dice = {f"dice/{name}": value for name, value in named if not math.isnan(value)}
        return Point(epoch.epoch, epoch.time or time.time(), {"loss": epoch.loss, **dice})

    def _measured(self, loss: float, dice: Sequence[float] | None) -> str:
        of_classes = " ".join(f"{n} {v:.3f}" for n, v in zip(self.classes, dice or (), strict=False))
        speed = f"{self._patches / self._seconds:.2f} patches/s" if self._seconds else ""
        return "  ".join(part for part in (f"loss {loss:.4f}", of_classes and f"Dice {of_classes}", speed) if part)


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
