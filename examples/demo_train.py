"""Run the whole pipeline on small phantoms: make them, train both stages, label held-out cases, score, draw.

`make demo-train` runs this. Every step but the baseline is one of the command lines, printed before it runs.
"""

import time
from dataclasses import dataclass
from pathlib import Path

from demo_steps import CTS, GRIDS, command, in_parallel, label_held_out, print_scores, remove_old_results, step
from ltvs.dataset.layout import PreparedSet
from ltvs.model.computing import best_device, fast_precision
from ltvs.runtime.command_line import run

PHANTOMS = f"{CTS} --count 18 --validation 2 --test 4"
NETWORKS = "--channels 8 16 32 64 --norm instance --schedule cosine --loss dice_ce"
STAGE_1 = "--stage 1 --epochs 18 --workers 1 --patch 32 112 112 --batch-size 1 --learning-rate 3e-3 --validate-every 6"
STAGE_2 = (
    "--stage 2 --epochs 7 --workers 1 --patch 32 56 56 --overlap 16 28 28 --batch-size 2 --learning-rate 5e-3 "
    "--background-weight 0.5 --jitter 8 --validate-every 7 --calibrate"
)


@dataclass(frozen=True)
class DemoSettings:
    """Settings of the demo."""

    output: Path = Path("runs/demo-train")
    """Folder for all files of the demo."""


def main(settings: DemoSettings) -> None:
    """Run the pipeline on phantoms: about ten minutes on two cores with bfloat16 instructions."""
    started = time.monotonic()
    output = settings.output
    remove_old_results(output, "demo_train.py")
    data, trained = output / "data", output / "run"

    step("Phantoms: 12 to train on, 2 to select the weights, 4 held out")
    command("prepare_ltvs.py", PHANTOMS, GRIDS, "--output", data)
    step("Both stages in parallel: a 3D U-Net learns to find the liver, UCA-Net the vessels and tumors in it")
    words = ("--precision", fast_precision(best_device()), "--data", data, "--output", trained)
    in_parallel([("train_ltvs.py", stage, NETWORKS, *words) for stage in (STAGE_1, STAGE_2)], output / "stage1.log")
    step("Held-out phantoms: predictions of the two networks, and of a threshold baseline that is given the liver")
    label_held_out(PreparedSet(data).split["test"], output, ("--run", trained))
    step("Scores")
    print_scores(output)
    minutes = (time.monotonic() - started) / 60
    print(f"\n{minutes:.1f} minutes")
    print(f"scores and pictures: {output / 'report'}\nlabel maps: {output / 'predictions'}\nnetworks: {trained}")


if __name__ == "__main__":
    run(main, DemoSettings)
