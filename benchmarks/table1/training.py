"""Training of a run by train_ltvs.py, which resumes; a time limit ends it with a checkpoint."""

import signal
import subprocess
from pathlib import Path

from benchmarks.table1.budgets import RENDERED, Budget, Run
from demo_steps import arguments
from ltvs.dataset.layout import PreparedSet
from ltvs.model.saved import stage_folder
from ltvs.runtime.errors import InputError
from ltvs.runtime.files import read_json
from ltvs.training.run_folder import is_trained

#: The same for all systems; docs/table1.md says where the paper does otherwise.
SETTINGS = "--stage 2 --loss dice_ce --schedule cosine --clip-norm 1 --ema 0.99 --jitter 8 --save-every 1"
#: Seconds that a training has to write its checkpoint in.
GRACE = 60.0


def words_of(run: Run, budget: Budget, data: PreparedSet, output: Path) -> tuple[str | Path, ...]:
    """Return the words of the command that trains a run."""
    patch, overlap = (" ".join(map(str, sizes)) for sizes in (budget.patch, budget.overlap))
    each = f"--epochs {budget.epochs} --validate-every {budget.epochs // budget.validations} --render {RENDERED}"
    sizes = f"--patch {patch} --overlap {overlap} --batch-size {budget.batch} --workers {budget.workers}"
    own = f"--network {run.network} --seed {run.seed} --learning-rate {run.rate:g}"
    return ("train_ltvs.py", SETTINGS, each, sizes, own, "--data", data.folder, "--output", output / run.name)


def train(run: Run, budget: Budget, data: PreparedSet, output: Path, seconds: float) -> bool:
    """Train a run, or what is left of it; return whether it is done, and not stopped after `seconds`.

    Raises:
        InputError: training failed, after it printed why.
    """
    if is_trained(stage_folder(output / run.name, 2)):
        return True
    script, *words = words_of(run, budget, data, output)
    process = subprocess.Popen(arguments(str(script), *words))
    try:
        status = process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGTERM)
        process.wait(GRACE)
        return False
    finally:
        process.kill()
    if status:
        raise InputError(f"{run.name}: training ended with {status}, see above")
    return True


def validation_dice(run: Run, output: Path) -> float:
    """Return the best validation Dice of a run that is trained."""
    return float(read_json(stage_folder(output / run.name, 2) / "result.json")["dice"])
