"""Make the networks that come with the examples from scratch: paint synthetic patients, train in rounds, ship.

`make networks` runs this. Each round trains both stages in parallel, from the weights of the previous round. The same
command continues an interrupted one. Every step is one of the command lines, which is printed before it runs.
"""

import time
from dataclasses import dataclass
from pathlib import Path

from demo_steps import CTS, check_not_shipped, command, in_parallel, step
from ltvs.model.computing import best_device, fast_precision
from ltvs.runtime.command_line import run
from ltvs.runtime.errors import InputError

#: The phantoms are for validation only.
DATA = f"{CTS} --seed 500 --count 6 --validation 3 --test 2"
GRIDS = "--pixels 112 --slice-spacing 3.5 --liver-pixels 160 --liver-slice-spacing 1.5"
NETWORKS = "--channels 8 16 32 64 --norm instance --loss dice_ce --schedule cosine"
RENDER = "--render 4"
STEADY = "--ema 0.999 --clip-norm 1"
STAGE_1 = "--stage 1 --patch 32 112 112 --overlap 16 0 0"
STAGE_2 = "--stage 2 --patch 32 80 80 --overlap 8 20 20 --jitter 14 --calibrate"


@dataclass(frozen=True)
class NetworkRunSettings:
    """Settings of the networks' training."""

    output: Path = Path("runs/networks")
    """Folder for all files: the data, a run for each round, and the networks."""
    maps: int = 150
    """Number of synthetic patients.
    The map of each takes 14 MB, and 8 to 30 seconds of one core to paint."""
    rounds: int = 3
    """Number of training rounds.
    Each continues from the weights of the previous one, with half its learning rate."""
    stage_1_epochs: int = 8
    """Epochs of stage 1 in each round. An epoch has four patches of every map."""
    stage_2_epochs: int = 13
    """Epochs of stage 2 in each round. An epoch has four patches of every map."""
    batch_size: int = 1
    """Patches per step. Use more on a GPU."""
    workers: int = 1
    """Processes of each stage that render patches. With 0, a GPU renders them itself."""

    def __post_init__(self) -> None:
        for name in ("maps", "rounds", "stage_1_epochs", "stage_2_epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise InputError(f"--{name.replace('_', '-')}: expected 1 or more; got {getattr(self, name)}")


def main(settings: NetworkRunSettings) -> None:
    """Make the networks that come with the examples from scratch. This takes hours on two cores.

    To continue an interrupted run, give the same command again.
    """
    started, output = time.monotonic(), settings.output
    data, networks = output / "data", output / "portal-venous-ct"
    for folder in (output, networks):
        check_not_shipped(folder)
    step(f"Maps of {settings.maps} synthetic patients to train on, and phantoms to validate on")
    command("prepare_ltvs.py", DATA, GRIDS, f"--maps {settings.maps}", "--output", data)
    for number in range(1, settings.rounds + 1):
        step(f"Round {number} of {settings.rounds}: both stages in parallel")
        trained, before = output / f"round{number}", output / f"round{number - 1}"
        rate = 2e-3 / 2 ** (number - 1)
        words: list[str | Path] = ["--precision", fast_precision(best_device()), f"--learning-rate {rate:g}"]
        words += ["--data", data, "--output", trained, *(("--init", before) if number > 1 else ())]
        # A round draws other patches than the one before.
        words += [f"--seed {number - 1} --batch-size {settings.batch_size} --workers {settings.workers}"]
        stages = ((STAGE_1, settings.stage_1_epochs), (STAGE_2, settings.stage_2_epochs))
        commands: list[tuple[str | Path, ...]] = [
            ("train_ltvs.py", stage, f"--epochs {epochs} --validate-every {epochs}", NETWORKS, RENDER, STEADY, *words)
            for stage, epochs in stages
        ]
        in_parallel(commands, output / f"round{number}-stage1.log")
    command("ship_networks.py", "--run", output / f"round{settings.rounds}", "--output", networks, "--overwrite")
    print(f"\ndone in {(time.monotonic() - started) / 60:.1f} minutes\nnetworks: {networks}")


if __name__ == "__main__":
    run(main, NetworkRunSettings)
