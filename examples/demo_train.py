"""Run the whole pipeline on synthetic patients: make them, train both stages, label held-out phantoms, score, draw.

`make demo-train` runs this. Every step except the baseline is one of the command lines, which is printed before it
runs.
"""

import time
from dataclasses import dataclass
from pathlib import Path

from demo import NAMES
from demo_steps import CTS, GRIDS, SPLIT, command, in_parallel, label_held_out, print_scores, remove_old_results, step
from ltvs.model.computing import best_device, fast_precision
from ltvs.runtime.command_line import run
from ltvs.runtime.files import write_json

#: Two phantoms to calibrate on. The four of demo.py are held out. The networks train on images rendered from the maps.
VALIDATION = ("phantom-0002", "phantom-0010")
OTHERS = " ".join(name for name in (f"phantom-{seed:04d}" for seed in range(13)) if name not in (*NAMES, *VALIDATION))
PATIENTS = f"{CTS} --count 13 --leave-out {OTHERS} --maps 24"
NETWORKS = "--channels 8 16 32 64 --norm instance --schedule cosine --loss dice_ce --workers 1 --batch-size 1"
#: Patches look like the phantoms: other contrasts, scanners and shapes take more steps than there is time for.
RENDERED = "--render 8 --fixed contrast range resolution shape noise lesions"
STAGE_1 = "--stage 1 --epochs 4 --validate-every 4 --patch 32 112 112 --overlap 16 0 0 --learning-rate 4e-3"
STAGE_2 = (
    "--stage 2 --epochs 9 --validate-every 9 --patch 32 80 80 --overlap 16 40 40 --learning-rate 5e-3 "
    "--background-weight 0.5 --jitter 8 --calibrate"
)


@dataclass(frozen=True)
class DemoSettings:
    """Settings of the demo."""

    output: Path = Path("runs/demo-train")
    """Folder for all files of the demo."""


def main(settings: DemoSettings) -> None:
    """Train both stages on synthetic patients, then label and score phantoms that were held out.

    This takes about twelve minutes on two cores with bfloat16 instructions.
    """
    started = time.monotonic()
    output = settings.output
    remove_old_results(output, "demo_train.py")
    data, trained = output / "data", output / "run"

    step("Make synthetic patients: 24 to train on, and phantoms of 6 others, 2 to calibrate on and 4 held out")
    command("prepare_ltvs.py", PATIENTS, GRIDS, "--output", data)
    write_json(output / SPLIT, {"train": [], "validation": VALIDATION, "test": NAMES})
    step("Train both stages in parallel: a 3D U-Net to find the liver, UCA-Net to find the vessels and tumors in it")
    files = ("--data", data, "--split", f"../{SPLIT}", "--output", trained)
    words = (NETWORKS, RENDERED, "--precision", fast_precision(best_device()), *files)
    in_parallel([("train_ltvs.py", stage, *words) for stage in (STAGE_1, STAGE_2)], output / "stage1.log")
    step("Label the held-out phantoms with the two networks, and by thresholds in the true liver")
    label_held_out(NAMES, output, ("--run", trained))
    step("Score the labels against the truth")
    print_scores(output)
    minutes = (time.monotonic() - started) / 60
    print(f"\ndone in {minutes:.1f} minutes")
    print(
        f"scores and pictures: {output / 'report'}\nlabel maps and pages: {output / 'predictions'}\nnetworks: {trained}"
    )


if __name__ == "__main__":
    run(main, DemoSettings)
