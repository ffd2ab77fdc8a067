"""Training one stage: patches, Dice loss, Adam; validation every few epochs, the best weights kept.

Between two steps everything that the rest of the training depends on is in a `Learner` and a `Position`, and both are
in a checkpoint: a training that goes on from one ends with the weights of one that was never ended.
"""

import math
import random
import shutil
import sys
import time
import warnings
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self, cast

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor

from crossattn3d import UNet3d
from ltvs.dataset.layout import PreparedSet
from ltvs.model.networks import load_weights, save_weights, weight_notes
from ltvs.model.stages import CLASSES, Stage
from ltvs.runtime.errors import InputError
from ltvs.runtime.files import read_json, write_json
from ltvs.runtime.interrupts import Interrupts, interrupt
from ltvs.runtime.versions import versions
from ltvs.training.checkpoints import load_checkpoint, save_checkpoint
from ltvs.training.curves import Epoch
from ltvs.training.devices import memory_errors
from ltvs.training.journal import Journal
from ltvs.training.loader import PatchLoader
from ltvs.training.patches import PatchDataset
from ltvs.training.run_folder import checkpoint_folder, is_trained
from ltvs.training.settings import TrainSettings
from ltvs.training.step import Learner, Sample
from ltvs.training.validation import calibrate, mean_dice, validate


@dataclass
class Best:
    """The best validation so far."""

    epoch: int = 0
    dice: float = -1.0


@dataclass
class Position:
    """Where a training is.

    Args:
        epoch: that is at work, from 1; one more than there are once all are done.
        step: how many of its steps are done.
        loss: the sum of their losses.
        best: the best validation so far.
        history: the epochs that are done.
    """

    epoch: int = 1
    step: int = 0
    loss: float = 0.0
    best: Best = field(default_factory=Best)
    history: list[Epoch] = field(default_factory=list)

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Self:
        """The inverse of `asdict`."""
        best, history = Best(**state["best"]), [Epoch(**row) for row in state["history"]]
        return cls(state["epoch"], state["step"], state["loss"], best, history)


def train_stage(
    fabric: Fabric, net: UNet3d, data: PreparedSet, stage: Stage, settings: TrainSettings, folder: Path
) -> Best:
    """Train `net`, or go on with it, and leave weights, curves, log and result in `folder`.

    Args:
        fabric: launched; every process calls this, the first one writes.
        net: with fresh weights.
        data: the prepared set.
        stage: 1 or 2.
        settings: of the training.
        folder: as `runs.start_stage` has made it.

    Raises:
        InputError: no training cases, none with labels for this stage, the loss or the weights stopped being finite,
            memory ran out, or no checkpoint is whole.
        KeyboardInterrupt: SIGINT or SIGTERM; a checkpoint was written before.
    """
    if is_trained(folder):
        return Best(**read_json(folder / "result.json"))
    data.check_stage(stage)
    loader = make_loader(fabric, data, stage, settings)
    with closing(loader), Interrupts() as interrupts, memory_errors(settings):
        learner = Learner(fabric, net, settings, settings.epochs * loader.steps)
        training = _Training(fabric, learner, loader, data, stage, settings, folder, interrupts)
        training.run()
    return training.position.best


def make_loader(fabric: Fabric, data: PreparedSet, stage: Stage, settings: TrainSettings) -> PatchLoader:
    """The batches of a stage, as this process gets them.

    Raises:
        InputError: the split has no training cases.
    """
    if not data.split["train"]:
        raise InputError(f"{data.folder}: the split has no training cases; prepare it again with more cases")
    dataset = PatchDataset(
        data,
        stage,
        data.split["train"],
        settings.patch,
        settings.overlap,
        settings.rotation,
        settings.jitter,
        settings.seed,
        settings.foreground,
    )
    return PatchLoader(
        dataset,
        settings.batch_size,
        settings.seed,
        settings.workers,
        parts=settings.accumulate,
        rank=fabric.global_rank,
        world=fabric.world_size,
        pin_memory=fabric.device.type == "cuda",
    )


class _Training:
    def __init__(
        self,
        fabric: Fabric,
        learner: Learner,
        loader: PatchLoader,
        data: PreparedSet,
        stage: Stage,
        settings: TrainSettings,
        folder: Path,
        interrupts: Interrupts,
    ) -> None:
        self.fabric, self.learner, self.loader = fabric, learner, loader
        self.data, self.stage, self.settings, self.folder = data, stage, settings, folder
        self.interrupts = interrupts
        self.position = Position()
        self.asked = 0
        self.saved = time.monotonic()

    def run(self) -> None:
        settings, fabric = self.settings, self.fabric
        resumed = self._resume()
        patches = self.loader.steps * settings.batch_size
        done = (self.position.epoch - 1) * patches + self.position.step * settings.batch_size
        with Journal(
            self.folder if fabric.is_global_zero else None,
            f"stage {self.stage}",
            CLASSES[self.stage][1:],
            settings.epochs,
            patches,
            done,
            self.position.epoch,
        ) as self.journal:
            where = f"{fabric.world_size} x {settings.device}"
            made_with = " ".join(f"{name} {version}" for name, version in versions().items() if version)
            self.journal.say(f"{'goes on' if resumed else 'begins'} on {where}; {made_with}")
            if not resumed:
                self._save()
            while self.position.epoch <= settings.epochs:
                self._train_epoch()
                self._end_epoch()
            self._finish()

    def _resume(self) -> bool:
        """Whether there was something to go on with."""
        with warnings.catch_warnings(record=True) as caught:
            state = load_checkpoint(checkpoint_folder(self.folder))
        if self.fabric.is_global_zero:
            for warning in caught:
                print(f"warning: {warning.message}", file=sys.stderr)
        if state is None:
            return False
        try:
            self.learner.load_state(state["learner"])
            self.position = Position.from_state(state["position"])
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            raise InputError(
                f"{checkpoint_folder(self.folder)}: the checkpoint does not fit this training ({reason}); "
                f"remove {self.folder} to begin again"
            ) from error
        return True

    def _train_epoch(self) -> None:
        position, began = self.position, time.monotonic()
        for parts in self.loader.epoch(position.epoch, position.step):
            loss = self._step(parts)
            position.step += 1
            position.loss += loss
            now = time.monotonic()
            self.journal.step(position.epoch, position.loss / position.step, self.settings.batch_size, now - began)
            began = now
            if self.asked:
                self._save()
                raise self._stopped()
            if now - self.saved >= 60 * self.settings.save_every:
                self._save()

    def _step(self, parts: list[Sample]) -> float:
        """One step of all processes together; the mean of their losses."""
        loss = self.learner.backward(parts)
        names = sorted({name for part in parts for name in part.case})
        asked = torch.tensor(float(self.interrupts.asked), device=loss.device)
        everyone = cast("Tensor", self.fabric.all_gather(torch.stack([loss.float(), asked])))
        losses, wishes = everyone.reshape(-1, 2).cpu().T
        self.asked = int(wishes.max())
        where = f"at epoch {self.position.epoch}, step {self.position.step + 1}"
        for rank, value in enumerate(losses.tolist()):
            if not math.isfinite(value):
                names = self.fabric.broadcast(names, src=rank)
                raise self._failed(f"the loss is {value} {where} on {', '.join(names)}")
        if not self.learner.update():
            raise self._failed(f"weights are no longer finite {where} on {', '.join(names)}")
        return float(losses.double().mean())

    def _failed(self, what: str) -> BaseException:
        """What every process raises; the first one has a word to say."""
        half = "" if self.settings.precision == "32" else ", or take --precision 32"
        kept = f"the last good checkpoint is kept in {checkpoint_folder(self.folder)}"
        error = InputError(f"{what}; lower --learning-rate{half}; {kept}")
        self.journal.say(str(error))
        return error if self.fabric.is_global_zero else SystemExit(0)

    def _end_epoch(self) -> None:
        position, settings = self.position, self.settings
        validated = position.epoch % settings.validate_every == 0 or position.epoch == settings.epochs
        dice = None
        if validated:
            self._save()
            self.learner.share_statistics()
            dice = validate(self.learner.net, self.data, self.stage, settings, self.fabric, self._between_cases)
            if (mean := mean_dice(dice)) > position.best.dice:
                position.best = Best(position.epoch, mean)
                self._write_weights("best", {"epoch": str(position.epoch), "dice": repr(mean)})
            self._write_weights("last", {"epoch": str(position.epoch)})
        position.history.append(Epoch(position.epoch, position.loss / position.step, dice))
        position.epoch, position.step, position.loss = position.epoch + 1, 0, 0.0
        self.journal.epoch(position.history)
        if validated:
            self._save()

    def _between_cases(self) -> None:
        # Several processes have to leave together, which they can after the next step.
        if self.interrupts.asked and self.fabric.world_size == 1:
            self.asked = self.interrupts.asked
            raise self._stopped()

    def _finish(self) -> None:
        position, best = self.position, self.folder / "best.safetensors"
        self.fabric.barrier()
        notes = weight_notes(best)
        if self.settings.calibrate and "factor" not in notes:
            load_weights(self.learner.net, best)
            factor, dice = calibrate(
                self.learner.net, self.data, self.stage, self.settings, self.fabric, self._between_cases
            )
            notes |= {"factor": f"{factor:g}", "dice": repr(dice)}
            self._write_weights("best", notes)
        position.best.dice = float(notes["dice"])
        if "factor" in notes:
            self.journal.say(f"odds of background times {notes['factor']} give the highest validation Dice")
        self.journal.say(f"done: validation Dice {position.best.dice:.4f} at epoch {position.best.epoch}")
        if self.fabric.is_global_zero:
            write_json(self.folder / "result.json", asdict(position.best))
            shutil.rmtree(checkpoint_folder(self.folder))

    def _write_weights(self, name: str, notes: dict[str, str]) -> None:
        if self.fabric.is_global_zero:
            save_weights(self.learner.net, self.folder / f"{name}.safetensors", notes)

    def _save(self) -> None:
        if self.fabric.is_global_zero:
            state = {"learner": self.learner.state(), "position": asdict(self.position)}
            save_checkpoint(state, checkpoint_folder(self.folder))
        self.saved = time.monotonic()

    def _stopped(self) -> BaseException:
        """What every process raises; the others when the first one has saved, as their end may end it, too."""
        self.fabric.barrier()
        if not self.fabric.is_global_zero:
            return SystemExit(0)
        position = self.position
        where = f"at epoch {position.epoch}, step {position.step} of {self.loader.steps}"
        self.journal.say(f"stopped {where}")
        print(f"\nsaved {where}; the same command goes on from there", file=sys.stderr)
        return interrupt(self.asked)


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and PyTorch."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - MONAI draws from it
    torch.manual_seed(seed)
