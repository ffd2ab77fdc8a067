"""python -m benchmarks.synthesis --output DIR: what helps networks that are trained on made patients alone.

Every row trains both stages, which takes half an hour on two cores; an interrupted study goes on where it was.
"""

import argparse
import re
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from benchmarks.machine import PACKAGES, machine
from benchmarks.real_cases.cohorts import COHORTS, LABELED
from benchmarks.real_cases.scoring import reference_masks, score
from benchmarks.reports import finish
from benchmarks.synthesis.rows import GRIDS, PHANTOMS, SPLIT, Row, rows, training
from benchmarks.synthesis.tables import text
from demo_steps import command, in_parallel, step
from ltvs.dataset.layout import PreparedSet
from ltvs.model.pipeline import Pipeline
from ltvs.model.stages import STAGES
from ltvs.phantom.cohort import make_phantom
from ltvs.runtime.errors import InputError
from ltvs.runtime.files import read_json, write_json
from ltvs.sources import Source
from ltvs.volume.case import Case
from ltvs.volume.labels import STRUCTURES


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.synthesis", description=__doc__)
    option = parser.add_argument
    option("--output", type=Path, required=True, help="folder for the phantoms, maps and networks")
    option("--cohort", nargs=2, action="append", default=[], metavar=("SOURCE", "PATH"),
           help=f"labeled CTs to score as well ({', '.join(COHORTS)}); may be given again")  # fmt: skip
    option("--maps", type=int, default=50, help="number of made patients (default: 50)")
    option("--steps", type=int, default=1500, help="steps of each network, at least (default: 1500)")
    option("--only", nargs="+", metavar="ROW", help="names of the rows to run (default: all)")
    option("--json", type=Path, help="file to write the results to")
    arguments = parser.parse_args()
    unknown = [source for source, _ in arguments.cohort if source not in COHORTS]
    if unknown:
        parser.error(f"--cohort: expected one of {', '.join(COHORTS)}; got {unknown[0]}")
    if arguments.only and (missing := set(arguments.only) - {row.name for row in rows()}):
        parser.error(f"--only: expected names of rows ({', '.join(row.name for row in rows())}); got {missing.pop()}")
    try:
        real = {source: COHORTS[source](Path(path)) for source, path in arguments.cohort}
    except InputError as error:
        parser.exit(2, f"error: {error}\n")
    command(
        "prepare_ltvs.py", PHANTOMS, SPLIT, GRIDS, f"--maps {arguments.maps}", "--output", arguments.output / "data"
    )
    data, found = PreparedSet(arguments.output / "data"), {}
    for row in rows():
        if not arguments.only or row.name in arguments.only:
            found[row.name] = _result(row, arguments.steps, data, real, arguments.output)
    report = {"steps": arguments.steps, "maps": arguments.maps, "rows": found}
    report["machine"] = machine(torch.device("cpu"), (*PACKAGES, "SimpleITK"))
    return finish(report, text(report), [], arguments.json)


def _result(row: Row, steps: int, data: PreparedSet, real: Mapping[str, Source], output: Path) -> dict[str, Any]:
    """Return the scores of a row, whose networks are trained first where they have not been."""
    run = output / re.sub(r"\W+", "-", row.name).strip("-")
    if not (run / "scores.json").exists():
        run.mkdir(parents=True, exist_ok=True)
        step(row.name)
        started = time.monotonic()
        in_parallel([training(row, stage, steps, data, run) for stage in STAGES], run / "stage1.log")
        seconds = time.monotonic() - started
        # The phantoms are named by their seeds.
        seeds = [int(name.rpartition("-")[2]) for name in data.split["test"]]
        cases = {"phantoms": [make_phantom(seed, matrix=256, slice_spacing=2.5) for seed in seeds]}
        cases |= {source: [entry.load() for entry in entries.values()] for source, entries in real.items()}
        write_json(run / "scores.json", {"train_seconds": seconds, "cases": _scores(run, cases)})
    return dict(read_json(run / "scores.json"))


def _scores(run: Path, cases: Mapping[str, list[Case]]) -> dict[str, dict[str, Any]]:
    """Return, of each case, the Dice of the liver that stage 1 finds, and of what stage 2 finds in the labeled liver.

    So each stage is scored alone.
    """
    pipeline = Pipeline.load(run, "cpu")
    found: dict[str, dict[str, Any]] = {}
    for source, several in cases.items():
        for case in several:
            # Where no vessel is labeled, they were left out.
            masks = reference_masks(case, LABELED.get(source, STRUCTURES))
            structures = [name for name, mask in masks.items() if name != "vessel" or mask.any()]
            scores = score(case, pipeline, structures, true_liver=True)
            scores["dice"] |= score(case, pipeline, ["liver"])["dice"]
            found.setdefault(source, {})[case.name] = scores
    return found


if __name__ == "__main__":
    sys.exit(main())
