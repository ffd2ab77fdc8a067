"""Write the results of `benchmarks.table1` into docs/understand/table1.md, the README and the pictures.

With the folder of the study, the command also draws the picture of every system's labels on a held-out phantom, the
middle one by Dice.
"""

import argparse
import sys
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks import DOCS, RESULTS, ROOT, pages
from benchmarks.table1 import counts, tables
from benchmarks.table1.budgets import COMMON_RATE, Run
from benchmarks.table1.pictures import draw_dice, draw_labels
from benchmarks.table1.testing import prediction_file
from ltvs.dataset.layout import PreparedSet
from ltvs.model.systems.registry import NETWORKS, TABLE_1
from ltvs.runtime.files import read_json
from ltvs.volume.images import read_ct, read_labels

RESULT, GPU_RESULT = RESULTS / "table1" / "cpu.json", RESULTS / "table1" / "gpu.json"
PAGE, README = DOCS / "understand" / "table1.md", ROOT / "README.md"
DICE, LABELS = DOCS / "images" / "table1-dice.svg", DOCS / "images" / "table1-labels.png"
MAKER = "benchmarks.table1.page"


def main() -> int:
    parser = argparse.ArgumentParser(prog=f"python -m {MAKER}", description=__doc__)
    parser.add_argument("--study", type=Path, help="folder of the study, for the picture of labels")
    arguments = parser.parse_args()
    report = read_json(RESULT)
    pages.write(PAGE, f"{MAKER}, printed", tables.printed_table())
    pages.write(PAGE, f"{MAKER}, counts", counts.table(counts.counted()))
    pages.write(PAGE, MAKER, tables.text(report))
    pages.write(PAGE, f"{MAKER}, GPU", gpu_text())
    pages.write(README, MAKER, tables.for_readme(report))
    draw_dice(report, DICE)
    if arguments.study is not None:
        draw_study(report, arguments.study)
    return 0


def gpu_text() -> str:
    """Return the tables of `--size gpu`, or that it has not been run."""
    if not GPU_RESULT.is_file():
        return "**It has not been run yet.**\n"
    return tables.text(read_json(GPU_RESULT))


def draw_study(report: dict[str, Any], study: Path) -> None:
    """Draw the labels of every system that was tested on the typical phantom."""
    data, case = PreparedSet(study / "data"), typical_phantom(report)
    runs = {network: Run(network, report["budget"]["seeds"][0], COMMON_RATE) for network in NETWORKS}
    files = {TABLE_1[network].title: prediction_file(study / run.name, case) for network, run in runs.items()}
    labels = {title: read_labels(file) for title, file in files.items() if file.is_file()}
    draw_labels(read_ct(data.ct(case)), read_labels(data.labels(case)), labels, LABELS)


def typical_phantom(report: dict[str, Any]) -> str:
    """Return the phantom that is in the middle by its tumor Dice, mean over all runs; of two, the better one."""
    found: dict[str, list[float]] = {}
    for run in report["runs"]:
        for name, case in run["cases"].items():
            if not case["real"] and case["tumor"]["dice"] is not None:
                found.setdefault(name, []).append(case["tumor"]["dice"])
    ordered = sorted(found, key=lambda name: (fmean(found[name]), name))
    return ordered[len(ordered) // 2]


if __name__ == "__main__":
    sys.exit(main())
