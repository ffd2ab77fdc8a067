"""The loop that trains one stage: steps, validation every few epochs, checkpoints; the best weights are kept.

Between two steps everything that the rest of the training depends on is in a `Learner` and a `Position`, and both are
in a checkpoint: a resumed training ends with the same weights as one that was never interrupted.
"""

import math
import random
import shutil
import sys
import time
import warnings
from dataclasses import asdict, dataclass, field
from typing import Any, Self, cast

import numpy as np
import torch
from torch import Tensor, nn

from ltvs.dataset.digests import digest
from ltvs.model.networks import load_weights, save_weights, weight_notes
from ltvs.model.stages import CLASSES
from ltvs.runtime.errors import InputError
from ltvs.runtime.files import read_json, write_json
from ltvs.runtime.interrupts import Interrupts, interrupt
from ltvs.runtime.versions import versions
from ltvs.training.checkpoints import load_checkpoint, save_checkpoint
from ltvs.training.devices import memory_errors
from ltvs.training.journal import Epoch, Journal
from ltvs.training.loader import PatchLoader, make_loader
from ltvs.training.run_folder import checkpoint_folder, is_trained
from ltvs.training.stage_training import StageTraining
from ltvs.training.step import Learner, Sample
from ltvs.training.validation import calibrate, mean_dice, validate


@dataclass
class Best:
    """The best validation so far."""

    epoch: int = 0
    dice: float = -1.0


@dataclass
class Position:
    """The position of a training.

    Args:
        epoch: the current one, from 1; one beyond the last once all are done.
        step: number of its steps that are done.
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
        """Return the position that `asdict` turned into a dictionary."""
        best, history = Best(**state["best"]), [Epoch(**row) for row in state["history"]]
        return cls(state["epoch"], state["step"], state["loss"], best, history)


def train_stage(task: StageTraining, net: nn.Module) -> Best:
    """Train `net`, or resume its training, and leave weights, curves, log and result in the folder of the stage.

    Every process calls this; rank 0 writes.

    Args:
        task: whose folder `start_stage` has made.
        net: as `start_network` gives it.

    Raises:
        InputError: no training cases, none with labels for this stage, the loss or the weights stopped being finite,
            memory ran out, or no checkpoint is whole.
        KeyboardInterrupt: SIGINT or SIGTERM; a checkpoint was written before.
    """
    if is_trained(task.folder):
        result = read_json(task.folder / "result.json")
        return Best(result["epoch"], result["dice"])
    task.data.check_stage(task.stage)
    with make_loader(task) as loader, Interrupts() as interrupts, memory_errors(task.settings):
        learner = Learner(task.fabric, net, task.settings, task.settings.epochs * loader.steps)
        training = _Training(task, learner, loader, interrupts)
        training.run()
    return training.position.best


class _Training:
    def __init__(self, task: StageTraining, learner: Learner, loader: PatchLoader, interrupts: Interrupts) -> None:
        self.task, self.learner, self.loader = task, learner, loader
        self.settings, self.fabric, self.folder = task.settings, task.fabric, task.folder
        self.interrupts = interrupts
        self.position = Position()
        self.asked = 0
        self.saved = time.monotonic()

    def run(self) -> None:
        resumed, position = self._resume(), self.position
        with Journal(self.task, self.loader.steps, position.history, position.step) as self.journal:
            where = f"{self.fabric.world_size} x {self.settings.device}"
            made_with = " ".join(f"{name} {version}" for name, version in versions().items() if version)
            self.journal.say(f"{'resumes' if resumed else 'begins'} on {where}; {made_with}")
            if not resumed:
                self._save()
            while position.epoch <= self.settings.epochs:
                self._train_epoch()
                self._end_epoch()
            self._finish()

    def _resume(self) -> bool:
        """Restore the newest checkpoint; return whether there was one."""
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
        for micro_batches in self.loader.epoch(position.epoch, position.step):
            loss = self._step(micro_batches)
            position.step += 1
            position.loss += loss
            now = time.monotonic()
            self.journal.step(position.epoch, position.loss / position.step, now - began)
            began = now
            if self.asked:
                self._save()
                raise self._stopped()
            if now - self.saved >= 60 * self.settings.save_every:
                self._save()

    def _step(self, micro_batches: list[Sample]) -> float:
        """Take one step in all processes together; return the mean of their losses."""
        position = self.position
        # What a network drops at random depends on nothing before, so that a resumed training drops the same.
        torch.manual_seed(_seed_of(self.settings.seed, position.epoch, position.step, self.fabric.global_rank))
        loss = self.learner.backward(micro_batches)
        names = sorted({name for micro_batch in micro_batches for name in micro_batch.case})
        asked = torch.tensor(float(self.interrupts.asked), device=loss.device)
        everyone = cast("Tensor", self.fabric.all_gather(torch.stack([loss.float(), asked])))
        losses, requests = everyone.reshape(-1, 2).cpu().T
        self.asked = int(requests.max())
        where = f"at epoch {position.epoch}, step {position.step + 1}"
        for rank, value in enumerate(losses.tolist()):
            if not math.isfinite(value):
                names = self.fabric.broadcast(names, src=rank)
                raise self._failed(f"the loss is {value} {where} on {', '.join(names)}")
        if not self.learner.update():
            raise self._failed(f"weights are no longer finite {where} on {', '.join(names)}")
        return float(losses.double().mean())

    def _failed(self, what: str) -> BaseException:
        """Return the exception that every process raises; only rank 0 reports the error."""
        half = "" if self.settings.precision == "32" else ", or use --precision 32"
        kept = f"the last good checkpoint is kept in {checkpoint_folder(self.folder)}"
        error = InputError(f"{what}; lower --learning-rate{half}, in another --output; {kept}")
        self.journal.say(str(error))
        return error if self.fabric.is_global_zero else SystemExit(0)

    def _end_epoch(self) -> None:
        position, settings = self.position, self.settings
        validated = position.epoch % settings.validate_every == 0 or position.epoch == settings.epochs
        dice = None
        if validated:
            self._save()
            self.learner.share_statistics()
            dice = validate(self.learner.result, self.task, self._between_cases)
            if (mean := mean_dice(dice)) > position.best.dice:
                position.best = Best(position.epoch, mean)
                self._write_weights("best", {"epoch": str(position.epoch), "dice": repr(mean)})
            self._write_weights("last", {"epoch": str(position.epoch)})
        position.history.append(Epoch(position.epoch, position.loss / position.step, dice, time.time()))
        position.epoch, position.step, position.loss = position.epoch + 1, 0, 0.0
        self.journal.epoch(position.history)
        if validated:
            self._save()

    def _between_cases(self) -> None:
        # Several processes have to stop together, which they can after the next step.
        if self.interrupts.asked and self.fabric.world_size == 1:
            self.asked = self.interrupts.asked
            raise self._stopped()

    def _finish(self) -> None:
        position, best = self.position, self.folder / "best.safetensors"
        self.fabric.barrier()
        notes = weight_notes(best)
        if self.settings.calibrate and "odds" not in notes:
            load_weights(self.learner.result, best)
            factors, dice = calibrate(self.learner.result, self.task, self._between_cases)
            named = zip(CLASSES[self.task.stage][1:], factors, strict=True)
            odds = [f"{name} times {factor:g}" for name, factor in named]
            notes |= {"odds": ", ".join(odds), "dice": repr(dice)}
            self._write_weights("best", notes)
        position.best.dice = float(notes["dice"])
        if "odds" in notes:
            self.journal.say(f"calibrated odds: {notes['odds']}")
        self.journal.say(f"done: validation Dice {position.best.dice:.4f} at epoch {position.best.epoch}")
        if self.fabric.is_global_zero:
            write_json(self.folder / "result.json", asdict(position.best) | {"weights": digest(best)})
            shutil.rmtree(checkpoint_folder(self.folder))

    def _write_weights(self, name: str, notes: dict[str, str]) -> None:
        if self.fabric.is_global_zero:
            save_weights(self.learner.result, self.folder / f"{name}.safetensors", notes)

    def _save(self) -> None:
        if self.fabric.is_global_zero:
            state = {"learner": self.learner.state(), "position": asdict(self.position)}
            save_checkpoint(state, checkpoint_folder(self.folder))
        self.saved = time.monotonic()

    def _stopped(self) -> BaseException:
        """Return the exception that every process raises, once rank 0 has saved: the end of another may end it, too."""
        self.fabric.barrier()
        if not self.fabric.is_global_zero:
            return SystemExit(0)
        position = self.position
        where = f"at epoch {position.epoch}, step {position.step} of {self.loader.steps}"
        self.journal.say(f"stopped {where}")
        print(f"\nsaved {where}; the same command resumes from there", file=sys.stderr)
        return interrupt(self.asked)


def _seed_of(*numbers: int) -> int:
    """Return a seed for PyTorch, another one for every series of numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and PyTorch."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - MONAI draws from it
    torch.manual_seed(seed)
