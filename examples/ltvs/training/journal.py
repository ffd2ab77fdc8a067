"""The output of a training while it runs: a progress bar, a line per epoch in a file, and curves."""

import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from ltvs.training.curves import Epoch, draw_curves, write_curves


class Journal:
    """The journal of the training of one stage; silent where `folder` is None.

    Args:
        folder: of the stage.
        title: of the progress bar.
        classes: names of the classes that have a Dice.
        epochs: of the whole training.
        patches: of one epoch.
        done: patches of earlier sessions.
        next_epoch: first epoch that this session writes.
    """

    def __init__(
        self,
        folder: Path | None,
        title: str,
        classes: Sequence[str],
        epochs: int,
        patches: int,
        done: int = 0,
        next_epoch: int = 1,
    ) -> None:
        self.folder = folder
        self.classes = tuple(classes)
        self.epochs = epochs
        self.dice: list[float] | None = None
        self._started = time.monotonic()
        self._seconds, self._patches = 0.0, 0
        self._bar: tqdm[Any] = tqdm(
            total=epochs * patches,
            initial=done,
            desc=title,
            dynamic_ncols=True,
            # A terminal is updated every second; a file gets a line every half minute.
            mininterval=1.0 if sys.stderr.isatty() else 30.0,
            smoothing=0,
            bar_format="{desc} {percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}",
            disable=folder is None,
        )
        if folder is not None:
            # Drops what a killed session wrote after its last checkpoint.
            self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=next_epoch)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()
        if self.folder is not None:
            self._board.close()

    def say(self, text: str) -> None:
        """Append a line with the date to `log.txt`."""
        if self.folder is not None:
            with (self.folder / "log.txt").open("a", encoding="utf-8") as file:
                file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {text}\n")

    def step(self, epoch: int, loss: float, patches: int, seconds: float) -> None:
        """Show a step.

        Args:
            epoch: its epoch.
            loss: mean of the epoch so far.
            patches: of the step.
            seconds: that it took.
        """
        self._seconds += seconds
        self._patches += patches
        self._bar.set_postfix_str(f"epoch {epoch}/{self.epochs}  {self._measured(loss, self.dice)}", refresh=False)
        self._bar.update(patches)

    def epoch(self, history: Sequence[Epoch]) -> None:
        """Record the last of these epochs, which has ended."""
        if self.folder is None:
            return
        done = history[-1]
        self._board.add_scalar("loss", done.loss, done.epoch)
        for name, value in zip(self.classes, done.dice or (), strict=False):
            if not math.isnan(value):
                self._board.add_scalar(f"dice/{name}", value, done.epoch)
        # The next checkpoint counts this epoch as done, so its results have to be on the disk by then.
        self._board.flush()
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

    def _measured(self, loss: float, dice: Sequence[float] | None) -> str:
        of_classes = " ".join(f"{n} {v:.3f}" for n, v in zip(self.classes, dice or (), strict=False))
        speed = f"{self._patches / self._seconds:.2f} patches/s" if self._seconds else ""
        return "  ".join(part for part in (f"loss {loss:.4f}", of_classes and f"Dice {of_classes}", speed) if part)
