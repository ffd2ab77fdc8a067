"""Collect the results of runs in one study, and compare every pair of variants."""

import argparse
import json
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from itertools import combinations
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.accuracy.cases import PLAIN
from benchmarks.accuracy.run_files import DATA, SIZE, Json, read
from benchmarks.accuracy.statistics import Array, compare, differences, holm
from ltvs.runtime.files import atomic_path, read_json

#: Scores that are kept of every case: all of them at SIZE, Dice at other sizes. `cldice` is that of runs from before
#: the pipeline's metrics were used, with MONAI's soft skeletons; `cldice_thinned` is the pipeline's.
KEPT = {"vessel": ("dice", "iou", "cldice", "cldice_thinned"), "tumor": ("dice", "iou")}
KEPT_ELSEWHERE = {"vessel": ("dice",), "tumor": ("dice",)}
#: Scores that are compared, and shown; clDice is kept of every case for further use.
COMPARED = (("vessel", "dice"), ("tumor", "dice"))
ON = ("all", "plain")


def study(runs: Iterable[Json]) -> Json:
    """Return task, machines, cases, runs and comparisons; each run names its machine by number."""
    found = list(runs)
    cases = sorted({case for run in found for by_case in run["scores"].values() for case in by_case}, key=_natural)
    return _compared(found[0]["task"], cases, [_compact(run, cases) for run in found])


def joined(earlier: Json, later: Json) -> Json:
    """Return two studies as one; a run that both have is taken from the later.

    Raises:
        ValueError: they differ in task or test cases.
    """
    for what in ("task", "cases"):
        if earlier[what] != later[what]:
            raise ValueError(f"collect: expected studies of the same {what}; got different ones; keep them apart")

    def runs(whole: Json) -> dict[tuple[str, str, int], Json]:
        return {
            (run["data"], run["variant"], run["seed"]): run | {"machine": whole["machines"][run["machine"]]}
            for run in whole["runs"]
        }

    new = runs(later)
    kept = [run for key, run in runs(earlier).items() if key not in new]
    return _compared(later["task"], later["cases"], [*kept, *new.values()], later["machines"])


def names(whole: Json, data: str) -> list[str]:
    """Return the variants that were trained on this data."""
    return list(dict.fromkeys(run["variant"] for run in whole["runs"] if run["data"] == data))


def plain(whole: Json) -> Array:
    """Return which cases of the study are plain phantoms, which anyone can make."""
    return np.array([case.startswith(PLAIN) for case in whole["cases"]], bool)


def by_seed(whole: Json, data: str, variant: str, label: str, score: str, size: str = SIZE) -> dict[int, Array]:
    """Return a score of a variant by seed: a value per case, NaN where there is none; without runs that failed."""
    return {
        run["seed"]: np.array(run["scores"][size][label][score], float)
        for run in whole["runs"]
        if (run["data"], run["variant"]) == (data, variant)
        and run["finite"]
        and score in run["scores"].get(size, {}).get(label, {})
    }


def text(whole: Json) -> str:
    """Return the study as JSON, a run or a comparison to a line."""
    parts = []
    for key, value in whole.items():
        listed = key in ("runs", "comparisons")
        parts.append(f'"{key}":' + ("[\n" + ",\n".join(map(_dumped, value)) + "\n]" if listed else _dumped(value)))
    return "{" + ",\n".join(parts) + "}\n"


def _compared(task: Json, cases: list[str], runs: list[Json], machines: Iterable[Json] = ()) -> Json:
    """Return a study of these runs, each with its machine; the given machines are numbered first."""
    known = list(machines)
    for run in runs:
        if run["machine"] not in known:
            known.append(run["machine"])
    kept = [run | {"machine": known.index(run["machine"])} for run in runs]
    whole = {"task": task, "machines": known, "cases": cases, "runs": kept}
    return whole | {"comparisons": [row for data in DATA for row in _comparisons(whole, data)]}


def _comparisons(whole: Json, data: str) -> Iterator[Json]:
    # From the scores as the study holds them, so that its file is enough to repeat them.
    for label, score in COMPARED:
        scores = {variant: by_seed(whole, data, variant, label, score) for variant in names(whole, data)}
        for on in ON:
            chosen = plain(whole) if on == "plain" else np.ones(len(whole["cases"]), bool)
            rows = []
            for a, b in combinations(scores, 2):
                seeds = [seed for seed in scores[a] if seed in scores[b]]
                one, other = (np.array([scores[name][seed][chosen] for seed in seeds]) for name in (a, b))
                if seeds and differences(one, other).size:
                    about = {"data": data, "a": a, "b": b, "class": label, "score": score, "size": SIZE, "on": on}
                    rows.append(about | asdict(compare(one, other)))
            # All pairs are one family: that is how many chances there are to find a difference that does not exist.
            for row, corrected in zip(rows, holm(np.array([row["p"] for row in rows])), strict=True):
                yield _rounded(row | {"p_holm": float(corrected)})


def _compact(run: Json, cases: list[str]) -> Json:
    short = {name: run[name] for name in ("variant", "data", "seed", "parameters", "finite")}
    short |= {name: _significant(run[name]) for name in ("seconds_per_step", "peak_memory_mib")}
    short["scores"] = {
        size: {
            label: {
                score: [_score(by_case, case, label, score) for case in cases]
                for score in kept
                if any(score in by_class.get(label, {}) for by_class in by_case.values())
            }
            for label, kept in (KEPT if size == SIZE else KEPT_ELSEWHERE).items()
        }
        for size, by_case in run["scores"].items()
    }
    return short | {"probes": _significant(run["probes"]), "machine": run["machine"]}


def _score(by_case: Json, case: str, label: str, score: str) -> float | None:
    value = by_case.get(case, {}).get(label, {}).get(score)
    return None if value is None else round(value, 4)


def _rounded(row: Json) -> Json:
    row |= {name: _significant(row[name]) for name in ("p", "p_holm")}
    row |= {name: round(row[name], 5) for name in ("difference", "rank_biserial")}
    for name in ("interval_cases", "interval"):
        # A single seed or case gives no interval.
        row[name] = [round(end, 5) for end in row[name]] if all(map(isfinite, row[name])) else None
    return row


def _significant(value: Any) -> Any:
    """Return a figure, or all those in dictionaries and lists, to four digits."""
    if isinstance(value, dict):
        return {name: _significant(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_significant(inner) for inner in value]
    return None if value is None else float(f"{value:.4g}")


def _natural(case: str) -> list[tuple[int, str]]:
    return [(int(part), "") if re.fullmatch("[0-9]+", part) else (-1, part) for part in re.split(r"([0-9]+)", case)]


def _dumped(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def _study_in(path: Path) -> Json:
    try:
        found = read_json(path)
    except ValueError as error:
        raise ValueError(f"{path}: expected a study as this command writes it; got {error.__cause__}") from error
    if not isinstance(found, dict) or not {"task", "machines", "cases", "runs"} <= set(found):
        raise ValueError(f"{path}: expected a study as this command writes it; got other JSON")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accuracy.collect", description=__doc__)
    parser.add_argument("--runs", type=Path, nargs="+", required=True, metavar="DIR",
                        help="folders with the results of runs")  # fmt: skip
    parser.add_argument("--add-to", type=Path, metavar="STUDY", help="earlier study to which the runs are added")
    parser.add_argument("--json", type=Path, required=True, help="file to write the study to")
    arguments = parser.parse_args()
    try:
        whole = study(read(arguments.runs))
        if arguments.add_to is not None:
            whole = joined(_study_in(arguments.add_to), whole)
        with atomic_path(arguments.json) as path:
            path.write_text(text(whole), encoding="utf-8")
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{arguments.json}: {len(whole['runs'])} runs, {len(whole['comparisons'])} comparisons")
    return 0


if __name__ == "__main__":
    sys.exit(main())
