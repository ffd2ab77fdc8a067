"""The whole pipeline on phantoms, small: make them, train both stages, label held-out cases, score, draw.

What `make demo` runs. Every step but the baseline is one of the four command lines, printed before it runs.
"""

import shlex
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from ltvs.baseline import threshold_labels
from ltvs.cli import run
from ltvs.errors import InputError
from ltvs.figures import draw_report
from ltvs.files import read_json, write_json
from ltvs.images import read_ct, read_labels, write_volume
from ltvs.prepared import PreparedSet
from ltvs.scores import score_table

EXAMPLES = Path(__file__).resolve().parent
MARK = "demo.json"
MADE = ("run", "references", "predictions", "baseline", "report")

PHANTOMS = "--source phantom --count 18 --validation 2 --test 4 --matrix 256 --ct-slice-spacing 2.5"
GRIDS = "--pixels 112 --slice-spacing 3.5 --liver-pixels 112 --liver-slice-spacing 2.5"
NETWORKS = "--channels 8 16 32 64 --norm instance --precision bfloat16 --schedule cosine --loss dice_ce"
STAGE_1 = "--stage 1 --epochs 12 --patch 32 112 112 --batch-size 1 --learning-rate 3e-3 --validate-every 4"
STAGE_2 = (
    "--stage 2 --epochs 9 --patch 32 56 56 --overlap 16 28 28 --batch-size 2 --learning-rate 5e-3 "
    "--background-weight 0.5 --validate-every 3"
)


@dataclass(frozen=True)
class DemoSettings:
    """Settings of the demo."""

    output: Path = Path("runs/demo")
    """Folder for everything the demo makes."""


def main(settings: DemoSettings) -> None:
    """Run the pipeline on phantoms: about twelve minutes on two cores."""
    started = time.monotonic()
    output = settings.output
    _make_room(output)
    data_folder, trained, report = output / "data", output / "run", output / "report"

    _step("Phantoms: 12 to train on, 2 to choose the weights by, 4 held out")
    _command("prepare_ltvs.py", PHANTOMS, GRIDS, "--output", data_folder)
    _step("Stage 1: a 3D U-Net learns to find the liver")
    _command("train_ltvs.py", STAGE_1, NETWORKS, "--data", data_folder, "--output", trained)
    _step("Stage 2: UCA-Net learns to tell vessels and tumours in the liver")
    _command("train_ltvs.py", STAGE_2, NETWORKS, "--data", data_folder, "--output", trained)

    _step("Held-out phantoms: predictions of the two networks, and a baseline of thresholds that is given the liver")
    data = PreparedSet(data_folder)
    for name in data.split["test"]:
        file = f"{name}.nii.gz"
        prediction = output / "predictions" / file
        _command("predict_ltvs.py", "--input", data.ct(name), "--run", trained, "--output", prediction)
        ct, reference = read_ct(data.ct(name)), read_labels(data.labels(name))
        write_volume(reference, output / "references" / file)
        write_volume(threshold_labels(ct, reference > 0), output / "baseline" / file)
        draw_report(ct, read_labels(prediction), report / f"{name}.png", reference=reference, title=name)

    _step("Scores")
    references = ("--reference", output / "references")
    _command("evaluate_ltvs.py", "--prediction", output / "predictions", *references, "--output", report)
    _command("evaluate_ltvs.py", "--prediction", output / "baseline", *references, "--output", report / "baseline")
    score_table(
        {
            "UCA-Net": read_json(report / "summary.json"),
            "thresholds": read_json(report / "baseline" / "summary.json"),
        }
    )
    print("thresholds were given the true liver, UCA-Net found it")
    minutes = (time.monotonic() - started) / 60
    print(f"\n{minutes:.1f} minutes")
    print(f"scores and pictures: {report}\nlabel maps: {output / 'predictions'}\nnetworks: {trained}")


def _make_room(output: Path) -> None:
    """Remove what an earlier demo left, and nothing that is not a demo's; its phantoms are used again.

    Raises:
        InputError: the folder holds files of these names that no demo has made.
    """
    if not (output / MARK).is_file():
        foreign = [name for name in ("data", *MADE) if (output / name).exists()]
        if foreign:
            raise InputError(f"{output}: holds {', '.join(foreign)}, not made by a demo; give another --output")
    for name in MADE:
        shutil.rmtree(output / name, ignore_errors=True)
    write_json(output / MARK, {"made_by": "examples/demo.py"})


def _step(text: str) -> None:
    print(f"\n== {text}", flush=True)


def _command(script: str, *words: str | Path) -> None:
    """Run one of the command lines; strings are split at spaces, paths are not.

    Raises:
        InputError: it failed; it has said why.
    """
    arguments = [part for word in words for part in (word.split() if isinstance(word, str) else [str(word)])]
    print(f"$ python examples/{script} {shlex.join(arguments)}", flush=True)
    done = subprocess.run([sys.executable, str(EXAMPLES / script), *arguments], check=False)
    if done.returncode:
        raise InputError(f"examples/{script} ended with {done.returncode}, see above")


if __name__ == "__main__":
    run(main, DemoSettings)
