"""Training of a run by train_ltvs.py, which resumes; a time limit ends it with a checkpoint."""

import signal
import subprocess
from pathlib import Path

import tyro

from benchmarks.table1.budgets import RENDERED, Budget, Run
from demo_steps import arguments
from ltvs.model.saved import stage_folder
from ltvs.runtime.errors import InputError
from ltvs.runtime.files import read_json
from ltvs.training.run_folder import is_trained
from ltvs.training.settings import TrainSettings

#: The same for all systems; docs/understand/table1.md says where the paper does otherwise.
SETTINGS = "--stage 2 --loss dice_ce --schedule cosine --clip-norm 1 --ema 0.99 --jitter 8 --save-every 1"
#: Seconds that a training has to write its checkpoint in; the last one is a minute old at most.
GRACE = 60.0


def words_of(run: Run, budget: Budget, data: Path, output: Path) -> tuple[str | Path, ...]:
    """Return the words of the command that trains a run, after the name of the script.

    Args:
        run: to train.
        budget: what it gets.
        data: folder of the data set.
        output: folder of the study.
    """
    patch, overlap = (" ".join(map(str, sizes)) for sizes in (budget.patch, budget.overlap))
    each = f"--epochs {budget.epochs} --validate-every {budget.epochs // budget.validations} --render {RENDERED}"
    sizes = f"--patch {patch} --overlap {overlap} --batch-size {budget.batch} --workers {budget.workers}"
    own = f"--network {run.network} --seed {run.seed} --learning-rate {run.rate:g}"
    return (SETTINGS, each, sizes, own, "--data", data, "--output", output / run.name)


def settings_of(run: Run, budget: Budget) -> TrainSettings:
    """Return the settings that train_ltvs.py makes of the words of a run, but for its folders."""
    words = words_of(run, budget, Path("data"), Path("output"))
    return tyro.cli(TrainSettings, args=[part for word in words for part in str(word).split()])


def train(run: Run, budget: Budget, data: Path, output: Path, seconds: float) -> bool:
    """Train a run, or what is left of it; return whether it is done, and not stopped after `seconds`.

    Raises:
        InputError: training failed, after it printed why.
    """
    if is_trained(stage_folder(output / run.name, 2)):
        return True
    process = subprocess.Popen(arguments("train_ltvs.py", *words_of(run, budget, data, output)))
    try:
        status = process.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    finally:
        # Also where this process is asked to end.
        _end(process)
    if status:
        raise InputError(f"{run.name}: training ended with {status}, see above")
    return True


def validation_dice(run: Run, output: Path) -> float:
    """Return the best validation Dice of a run that is trained."""
    return float(read_json(stage_folder(output / run.name, 2) / "result.json")["dice"])


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Have a process save and end, and wait for it; one that takes too long is killed."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(GRACE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
