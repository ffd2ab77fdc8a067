"""Score networks on a cohort of labeled CTs."""

import argparse
import sys
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from benchmarks.machine import PACKAGES, machine
from benchmarks.real_cases.cohorts import COHORTS, LABELED
from benchmarks.real_cases.scoring import means, score
from benchmarks.real_cases.tables import text
from benchmarks.reports import existing_path, finish
from ltvs.model.computing import best_device, check_device
from ltvs.model.pipeline import SMALLEST_LIVER, Pipeline
from ltvs.model.shipping import ORIGIN, SHIPPED
from ltvs.runtime.errors import InputError
from ltvs.runtime.workers import Failure, attempt
from ltvs.sources import Source
from ltvs.volume.labels import STRUCTURES, Structure


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.real_cases", description=__doc__)
    option = parser.add_argument
    option("--source", choices=list(COHORTS), required=True,
           help="cohort, by its name in prepare_ltvs.py; prepared: the test cases of a prepared data set")  # fmt: skip
    option("--input", type=existing_path, required=True, help="folder of the cases as downloaded, or a zip of ircadb")
    option("--run", type=existing_path, help="run to score (default: the networks that come with the examples)")
    option("--json", type=Path, help="file to write the results to")
    option("--only", nargs="+", metavar="CASE", help="names of the cases to score (default: all)")
    option("--structures", nargs="+", choices=STRUCTURES, help="structures to score (default: all that are labeled)")
    option("--true-liver", action="store_true", help="give stage 2 the labeled liver, not the one that stage 1 finds")
    option("--device", default=best_device(), help="device that the networks run on (default: cuda where there is one)")
    option("--smallest-liver", type=float, default=SMALLEST_LIVER, metavar="ML",
           help=f"smallest volume that counts as a liver, ml (default: {SMALLEST_LIVER:g})")  # fmt: skip
    arguments = parser.parse_args()
    try:
        check_device(arguments.device)
        pipeline = Pipeline.load(arguments.run or SHIPPED, arguments.device, arguments.smallest_liver)
        source = _chosen(COHORTS[arguments.source](arguments.input), arguments.only)
    except InputError as error:
        parser.exit(2, f"error: {error}\n")
    structures = [name for name in LABELED[arguments.source] if name in (arguments.structures or STRUCTURES)]
    if arguments.true_liver and "liver" not in structures:
        parser.exit(
            2, f"error: --true-liver: expected livers that are labeled and scored; got {', '.join(structures)}\n"
        )
    cases, failed = _score_all(source, pipeline, structures, arguments.true_liver)
    report = {
        "source": arguments.source,
        "networks": str(arguments.run) if arguments.run else f"{SHIPPED.name}, {ORIGIN}",
        "structures": structures,
        "true_liver": arguments.true_liver,
        "cases": cases,
        "failed": failed,
        "means": means(cases),
        "machine": machine(torch.device(arguments.device), (*PACKAGES, "SimpleITK")),
    }
    finish(report, text(report), [], arguments.json)
    return 1 if failed else 0


def _chosen(source: Source, names: list[str] | None) -> Source:
    """Return the cases of these names, all if none are given.

    Raises:
        InputError: a case is not there.
    """
    if missing := sorted(set(names or ()) - set(source)):
        raise InputError(f"--only: expected names of cases ({', '.join(list(source)[:3])}, ...); got {missing[0]}")
    return {name: entry for name, entry in source.items() if names is None or name in names}


def _score_all(
    source: Source, pipeline: Pipeline, structures: list[Structure], true_liver: bool
) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Return the scores of each case, and the reason why a case has none."""
    cases: dict[str, dict[str, Any]] = {}
    failed: dict[str, str] = {}
    for name, entry in tqdm(source.items(), desc="cases", disable=len(source) == 1):
        result = attempt(lambda load=entry.load: score(load(), pipeline, structures, true_liver))
        if isinstance(result, Failure):
            failed[name] = result.reason
        else:
            cases[name] = result
    return cases, failed


if __name__ == "__main__":
    sys.exit(main())
