"""Find out what helps networks that are trained on synthetic patients alone.

Each row of the study trains both stages, which took 4 to 17 minutes on two cores. To continue an interrupted study,
give the same command again.
"""

import argparse
import re
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.machine import PACKAGES, machine
from benchmarks.real_cases.cohorts import COHORTS, LABELED
from benchmarks.real_cases.scoring import reference_masks, score
from benchmarks.reports import at_least_one, finish
from benchmarks.synthesis.rows import GRIDS, PHANTOMS, SPLIT, Row, rows, training
from benchmarks.synthesis.tables import text
from demo_steps import command, in_parallel, step
from ltvs.dataset.layout import PreparedSet
from ltvs.model.computing import best_device, fast_precision
from ltvs.model.pipeline import Pipeline
from ltvs.model.stages import STAGES
from ltvs.phantom.cohort import make_phantom
from ltvs.runtime.errors import InputError
from ltvs.runtime.files import read_json, write_json
from ltvs.volume.case import Case
from ltvs.volume.labels import STRUCTURES

#: Functions that load the cases of each cohort, by name.
Cases = Mapping[str, Mapping[str, Callable[[], Case]]]
#: The name of the phantoms among the cohorts.
PHANTOM_CASES = "phantoms"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.synthesis", description=__doc__)
    option = parser.add_argument
    option("--output", type=Path, required=True, help="folder for the phantoms, maps and networks")
    option("--cohort", nargs=2, action="append", default=[], metavar=("SOURCE", "PATH"),
           help=f"labeled CTs to score as well ({', '.join(COHORTS)}); repeatable")  # fmt: skip
    option("--maps", type=at_least_one, default=50, help="number of synthetic patients (default: 50)")
    option("--steps", type=at_least_one, default=1500, help="smallest number of steps of each network (default: 1500)")
    option("--only", nargs="+", metavar="ROW", help="names of the rows to run (default: all)")
    option("--json", type=Path, help="file to write the results to")
    arguments = parser.parse_args()
    unlabeled = [source for source, _ in arguments.cohort if "liver" not in LABELED.get(source, ())]
    if unlabeled:
        labeled = ", ".join(name for name in COHORTS if "liver" in LABELED[name])
        parser.error(f"--cohort: expected a cohort with labeled livers ({labeled}); got {unlabeled[0]}")
    if arguments.only and (missing := sorted(set(arguments.only) - {row.name for row in rows()})):
        parser.error(f"--only: expected names of rows ({', '.join(row.name for row in rows())}); got {missing[0]}")
    try:
        report = _report(arguments)
    except InputError as error:
        parser.exit(2, f"error: {error}\n")
    return finish(report, text(report), [], arguments.json)


def _report(arguments: argparse.Namespace) -> dict[str, Any]:
    """Train and score the rows that are asked for and have not been; return the results, as JSON holds them."""
    real = {source: COHORTS[source](Path(path)) for source, path in arguments.cohort}
    command(
        "prepare_ltvs.py", PHANTOMS, SPLIT, GRIDS, f"--maps {arguments.maps}", "--output", arguments.output / "data"
    )
    data = PreparedSet(arguments.output / "data")
    precision = fast_precision(best_device())
    settings = {"steps": arguments.steps, "maps": len(data.maps()), "precision": precision}
    # The phantoms are named by their seeds.
    seeds = [int(name.rpartition("-")[2]) for name in data.split["test"]]
    phantoms = {f"phantom-{seed}": partial(make_phantom, seed, matrix=256, slice_spacing=2.5) for seed in seeds}
    cases = {PHANTOM_CASES: phantoms}
    cases |= {source: {name: entry.load for name, entry in entries.items()} for source, entries in real.items()}
    found = {}
    for row in rows():
        if not arguments.only or row.name in arguments.only:
            run = arguments.output / re.sub(r"\W+", "-", row.name).strip("-")
            found[row.name] = _result(row, run, settings, data, cases)
    return {**settings, "rows": found, "machine": machine(torch.device("cpu"), (*PACKAGES, "SimpleITK"))}


def _result(row: Row, run: Path, settings: dict[str, Any], data: PreparedSet, cases: Cases) -> dict[str, Any]:
    """Return the scores of a row, whose networks are trained first where they have not been.

    Raises:
        InputError: the run has been trained or scored otherwise, training fails, or a case cannot be read.
    """
    scored = {source: list(entries) for source, entries in cases.items()}
    if (run / "scores.json").exists():
        result = dict(read_json(run / "scores.json"))
        if (result.get("settings"), result.get("scored")) != (settings, scored):
            raise InputError(
                f"{run}: was run with other --steps, --maps or --cohort, or in another precision; give the same, or "
                "remove scores.json to score it again, or give another --output"
            )
        return result
    run.mkdir(parents=True, exist_ok=True)
    step(row.name)
    started = time.monotonic()
    steps, precision = settings["steps"], settings["precision"]
    in_parallel([training(row, stage, steps, precision, data, run) for stage in STAGES], run / "stage1.log")
    seconds = time.monotonic() - started
    result = {"settings": settings, "scored": scored, "train_seconds": seconds, "cases": _scores(run, cases)}
    write_json(run / "scores.json", result)
    return result


def _scores(run: Path, cases: Cases) -> dict[str, dict[str, Any]]:
    """Return, of each case, the Dice of the liver that stage 1 finds, and of what stage 2 finds in the labeled liver.

    So each stage is scored alone.
    """
    pipeline = Pipeline.load(run, "cpu")
    found: dict[str, dict[str, Any]] = {}
    for source, entries in cases.items():
        for name, load in entries.items():
            case = load()
            # Where no vessel is labeled, they were left out.
            masks = reference_masks(case, STRUCTURES if source == PHANTOM_CASES else LABELED[source])
            structures = [structure for structure, mask in masks.items() if structure != "vessel" or mask.any()]
            scores = score(case, pipeline, structures, true_liver=True)
            scores["dice"] |= score(case, pipeline, ["liver"])["dice"]
            found.setdefault(source, {})[name] = scores
    return found


if __name__ == "__main__":
    sys.exit(main())
