"""Label four phantoms with the networks that come with the examples, score the labels, and draw pictures.

`make demo` runs this. `make demo-train` runs demo_train.py, which trains networks first. Every step except the baseline
is one of the command lines, which is printed before it runs.
"""

import time
from dataclasses import dataclass
from pathlib import Path

from demo_steps import CTS, GRIDS, command, label_held_out, print_scores, remove_old_results, step
from ltvs.runtime.command_line import run

#: Seeds of the phantoms, which are those that demo_train.py holds out.
SEEDS = (0, 3, 4, 12)
NAMES = tuple(f"phantom-{seed:04d}" for seed in SEEDS)
OTHERS = " ".join(f"phantom-{seed:04d}" for seed in range(max(SEEDS)) if seed not in SEEDS)
PHANTOMS = f"{CTS} --count {max(SEEDS) + 1} --leave-out {OTHERS}"


@dataclass(frozen=True)
class DemoSettings:
    """Settings of the demo."""

    output: Path = Path("runs/demo")
    """Folder for all files of the demo."""


def main(settings: DemoSettings) -> None:
    """Label four synthetic CTs (phantoms) with the networks that come with the examples, and score the labels."""
    started = time.monotonic()
    output = settings.output
    remove_old_results(output, "demo.py")

    step("Make four phantoms; no network was trained on them, so their split does not matter")
    command("prepare_ltvs.py", PHANTOMS, GRIDS, "--output", output / "data")
    step("Label them with the networks that come with the examples, and by thresholds in the true liver")
    label_held_out(NAMES, output)
    step("Score the labels against the truth")
    print_scores(output)
    print(f"\ndone in {(time.monotonic() - started) / 60:.1f} minutes")
    print(f"scores and pictures: {output / 'report'}\nlabel maps and pages for a browser: {output / 'predictions'}")


if __name__ == "__main__":
    run(main, DemoSettings)
