"""Steps of the demos and of make_networks.py: a folder, the commands they run, phantoms labeled and scored."""

import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from ltvs.dataset.layout import PreparedSet
from ltvs.evaluation.baseline import threshold_labels
from ltvs.evaluation.scores import print_score_table
from ltvs.model.shipping import SHIPPED
from ltvs.report.figures import draw_report
from ltvs.runtime.errors import InputError
from ltvs.runtime.files import read_json, write_json
from ltvs.runtime.outputs import check_outside
from ltvs.volume.images import read_ct, read_labels, write_volume

EXAMPLES = Path(__file__).resolve().parent
MARK = "demo.json"
SPLIT = "split.json"
MADE = (SPLIT, "run", "references", "predictions", "baseline", "report", "stage1.log")

#: The CTs of the phantoms, and the grids of the networks that are trained on them.
CTS = "--source phantom --matrix 256 --ct-slice-spacing 2.5"
GRIDS = "--pixels 112 --slice-spacing 3.5 --liver-pixels 112 --liver-slice-spacing 2.5"


def remove_old_results(output: Path, script: str) -> None:
    """Remove the results of an earlier demo, but keep its phantoms, and mark the folder as made by `script`.

    Raises:
        InputError: the folder holds files of these names that a demo did not make, or is that of the shipped networks.
    """
    check_not_shipped(output)
    if not (output / MARK).is_file():
        foreign = [name for name in ("data", *MADE) if (output / name).exists()]
        if foreign:
            raise InputError(f"{output}: holds {', '.join(foreign)}, not made by a demo; give another --output")
    for name in MADE:
        _remove(output / name)
    write_json(output / MARK, {"made_by": f"examples/{script}"})


def check_not_shipped(output: Path) -> None:
    """Raise InputError if a folder to write is that of the networks that come with the examples, or lies in it."""
    check_outside(output, {"the folder of the networks that come with the examples": SHIPPED})


def label_held_out(names: Sequence[str], output: Path, networks: Sequence[str | Path] = ()) -> None:
    """Label phantoms of `output`/data with networks and with thresholds; make a picture and a page of each.

    Args:
        names: of the phantoms.
        output: folder of the demo.
        networks: words of the command line that choose them; none for those that come with the examples.
    """
    data = PreparedSet(output / "data")
    for name in names:
        file = f"{name}.nii.gz"
        prediction = output / "predictions" / file
        command("predict_ltvs.py", "--input", data.ct(name), *networks, "--output", prediction, "--html")
        ct, reference = read_ct(data.ct(name)), read_labels(data.labels(name))
        write_volume(reference, output / "references" / file)
        write_volume(threshold_labels(ct, reference > 0), output / "baseline" / file)
        draw_report(ct, read_labels(prediction), output / "report" / f"{name}.png", reference=reference, title=name)


def print_scores(output: Path) -> None:
    """Score the label maps of networks and thresholds, and print both in one table."""
    report, references = output / "report", ("--reference", output / "references")
    command("evaluate_ltvs.py", "--prediction", output / "predictions", *references, "--output", report)
    command("evaluate_ltvs.py", "--prediction", output / "baseline", *references, "--output", report / "baseline")
    print_score_table(
        {
            "UCA-Net": read_json(report / "summary.json"),
            "thresholds": read_json(report / "baseline" / "summary.json"),
        }
    )
    print("UCA-Net labeled the liver that stage 1 found; the thresholds were given the true liver")


def step(text: str) -> None:
    """Print the heading of a step."""
    print(f"\n== {text}", flush=True)


def command(script: str, *words: str | Path) -> None:
    """Run one of the command lines.

    Raises:
        InputError: it failed, after it printed why.
    """
    done = subprocess.run(arguments(script, *words), check=False)
    if done.returncode:
        raise InputError(f"examples/{script} ended with {done.returncode}, see above")


def arguments(script: str, *words: str | Path) -> list[str]:
    """Print a command line and return it as a list; strings are split at spaces, paths are not."""
    parts = [part for word in words for part in (word.split() if isinstance(word, str) else [str(word)])]
    print(f"$ python examples/{script} {shlex.join(parts)}", flush=True)
    return [sys.executable, str(EXAMPLES / script), *parts]


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def in_parallel(commands: list[tuple[str | Path, ...]], log: Path) -> None:
    """Run two commands in parallel, each on half of the processors; the output of the first goes to a file.

    Small networks gain little from a second processor, so this takes much less time than one after the other.

    Raises:
        InputError: one of them failed; the other is terminated.
    """
    first, second = (arguments(str(script), *words) for script, *words in commands)
    half = {**os.environ, "OMP_NUM_THREADS": str(max(1, _processors() // 2))}
    print(f"both run at the same time; the output of the first is in {log}", flush=True)
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
