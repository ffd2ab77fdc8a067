"""python -m benchmarks.table1.page [--study DIR]: the results into docs/table1.md, README and the pictures.

With the folder of the study, also the picture of every system's labels on a held-out phantom.
"""

import argparse
import sys
from pathlib import Path

from benchmarks import DOCS, RESULTS, ROOT, pages
from benchmarks.table1 import counts, tables
from benchmarks.table1.budgets import COMMON_RATE, Run
from benchmarks.table1.pictures import draw_dice, draw_labels
from benchmarks.table1.testing import prediction_file
from ltvs.dataset.layout import PreparedSet
from ltvs.model.systems.registry import NETWORKS, TABLE_1
from ltvs.runtime.files import read_json
from ltvs.volume.images import read_ct, read_labels

RESULT = RESULTS / "table1" / "cpu.json"
PAGE, README = DOCS / "table1.md", ROOT / "README.md"
DICE, LABELS = DOCS / "images" / "table1-dice.svg", DOCS / "images" / "table1-labels.png"
MAKER = "benchmarks.table1.page"


def main() -> int:
    parser = argparse.ArgumentParser(prog=f"python -m {MAKER}", description=__doc__)
    parser.add_argument("--study", type=Path, help="folder of the study, for the picture of labels")
    arguments = parser.parse_args()
    report = read_json(RESULT)
    pages.write(PAGE, f"{MAKER}, counts", counts.table(counts.counted()))
    pages.write(PAGE, MAKER, tables.text(report))
    pages.write(README, MAKER, tables.short_table(report))
    draw_dice(report, DICE)
    if arguments.study is not None:
        draw_study(arguments.study)
    return 0


def draw_study(study: Path) -> None:
    """Draw the labels of every system that was tested on the first held-out phantom."""
    data = PreparedSet(study / "data")
    case, seed = data.split["test"][0], 0
    files = {
        TABLE_1[network].title: prediction_file(study / Run(network, seed, COMMON_RATE).name, case)
        for network in NETWORKS
    }
    labels = {title: read_labels(file) for title, file in files.items() if file.is_file()}
    draw_labels(read_ct(data.ct(case)), read_labels(data.labels(case)), labels, LABELS)


if __name__ == "__main__":
    sys.exit(main())
