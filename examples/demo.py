"""Run the whole pipeline on small phantoms: make them, train both stages, label held-out cases, score, draw.

`make demo` runs this. Every step but the baseline is one of the four command lines, printed before it runs.
"""

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from ltvs.dataset.layout import PreparedSet
from ltvs.evaluation.baseline import threshold_labels
from ltvs.evaluation.scores import print_score_table
from ltvs.model.computing import best_device, fast_precision
from ltvs.report.figures import draw_report
from ltvs.runtime.command_line import run
from ltvs.runtime.errors import InputError
from ltvs.runtime.files import read_json, write_json
from ltvs.volume.images import read_ct, read_labels, write_volume

EXAMPLES = Path(__file__).resolve().parent
MARK = "demo.json"
MADE = ("run", "references", "predictions", "baseline", "report", "stage1.log")

PHANTOMS = "--source phantom --count 18 --validation 2 --test 4 --matrix 256 --ct-slice-spacing 2.5"
GRIDS = "--pixels 112 --slice-spacing 3.5 --liver-pixels 112 --liver-slice-spacing 2.5"
NETWORKS = "--channels 8 16 32 64 --norm instance --schedule cosine --loss dice_ce"
STAGE_1 = "--stage 1 --epochs 18 --workers 1 --patch 32 112 112 --batch-size 1 --learning-rate 3e-3 --validate-every 6"
STAGE_2 = (
    "--stage 2 --epochs 7 --workers 1 --patch 32 56 56 --overlap 16 28 28 --batch-size 2 --learning-rate 5e-3 "
    "--background-weight 0.5 --jitter 8 --validate-every 7 --calibrate"
)


@dataclass(frozen=True)
class DemoSettings:
    """Settings of the demo."""

    output: Path = Path("runs/demo")
    """Folder for all files of the demo."""


def main(settings: DemoSettings) -> None:
    """Run the pipeline on phantoms: about ten minutes on two cores with bfloat16 instructions."""
    started = time.monotonic()
    output = settings.output
    _remove_old_results(output)
    data_folder, trained, report = output / "data", output / "run", output / "report"

    _step("Phantoms: 12 to train on, 2 to select the weights, 4 held out")
    _command("prepare_ltvs.py", PHANTOMS, GRIDS, "--output", data_folder)
    _step("Both stages in parallel: a 3D U-Net learns to find the liver, UCA-Net the vessels and tumors in it")
    words = ("--precision", fast_precision(best_device()), "--data", data_folder, "--output", trained)
    _in_parallel([("train_ltvs.py", stage, NETWORKS, *words) for stage in (STAGE_1, STAGE_2)], output / "stage1.log")

    _step("Held-out phantoms: predictions of the two networks, and of a threshold baseline that is given the liver")
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
    print_score_table(
        {
            "UCA-Net": read_json(report / "summary.json"),
            "thresholds": read_json(report / "baseline" / "summary.json"),
        }
    )
    print("thresholds were given the true liver, UCA-Net found it")
    minutes = (time.monotonic() - started) / 60
    print(f"\n{minutes:.1f} minutes")
    print(f"scores and pictures: {report}\nlabel maps: {output / 'predictions'}\nnetworks: {trained}")


def _remove_old_results(output: Path) -> None:
    """Remove the results of an earlier demo, but keep its phantoms.

    Raises:
        InputError: the folder holds files of these names that a demo did not make.
    """
    if not (output / MARK).is_file():
        foreign = [name for name in ("data", *MADE) if (output / name).exists()]
        if foreign:
            raise InputError(f"{output}: holds {', '.join(foreign)}, not made by a demo; give another --output")
    for name in MADE:
        _remove(output / name)
    write_json(output / MARK, {"made_by": "examples/demo.py"})


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _step(text: str) -> None:
    print(f"\n== {text}", flush=True)


def _command(script: str, *words: str | Path) -> None:
    """Run one of the command lines.

    Raises:
        InputError: it failed, after it printed why.
    """
    done = subprocess.run(_arguments(script, *words), check=False)
    if done.returncode:
        raise InputError(f"examples/{script} ended with {done.returncode}, see above")


def _in_parallel(commands: list[tuple[str | Path, ...]], log: Path) -> None:
    """Run two commands in parallel, each on half of the processors; the output of the first goes to a file.

    Small networks gain little from a second processor, so this takes much less time than one after the other.

    Raises:
        InputError: one of them failed; the other is terminated.
    """
    first, second = (_arguments(str(script), *words) for script, *words in commands)
    half = {**os.environ, "OMP_NUM_THREADS": str(max(1, _processors() // 2))}
    print(f"the first writes to {log}", flush=True)
    with log.open("w", encoding="utf-8") as file:
        running = {
            f"{first[1]} failed; {log} says why": subprocess.Popen(first, env=half, stdout=file, stderr=file),
            f"{second[1]} failed, see above": subprocess.Popen(second, env=half),
        }
        try:
            while any(process.poll() is None for process in running.values()):
                _raise_if_failed(running)
                time.sleep(0.2)
            _raise_if_failed(running)
        finally:
            for process in running.values():
                process.terminate()
                process.wait()


def _processors() -> int:
    """Return the number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _raise_if_failed(running: dict[str, "subprocess.Popen[bytes]"]) -> None:
    """Raise InputError with the message of a process that failed."""
    for message, process in running.items():
        if process.poll():
            raise InputError(message)


def _arguments(script: str, *words: str | Path) -> list[str]:
    """Print a command line and return it as a list; strings are split at spaces, paths are not."""
    arguments = [part for word in words for part in (word.split() if isinstance(word, str) else [str(word)])]
    print(f"$ python examples/{script} {shlex.join(arguments)}", flush=True)
    return [sys.executable, str(EXAMPLES / script), *arguments]


if __name__ == "__main__":
    # Exit as by an exception, so that the processes it started are terminated, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    run(main, DemoSettings)
