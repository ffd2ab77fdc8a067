"""`python -m benchmarks.accuracy.collect --runs DIR... --json FILE`: all runs as one study, every pair compared."""

import argparse
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import asdict
from itertools import combinations
from math import isfinite
from pathlib import Path

import numpy as np

from benchmarks.accuracy.reading import DATA, SIZE, Json, read
from benchmarks.accuracy.statistics import Array, compare, differences, holm

#: What is kept of every case: all of it at SIZE, Dice at other sizes.
KEPT = {"vessel": ("dice", "iou", "cldice"), "tumor": ("dice", "iou")}
KEPT_ELSEWHERE = {"vessel": ("dice",), "tumor": ("dice",)}
#: What is compared, and shown; clDice is kept of every case, for who wants to.
COMPARED = (("vessel", "dice"), ("tumor", "dice"))
#: Cases whose names begin so are phantoms that anyone can make.
PLAIN = "plain-"
ON = ("all", "plain")


def study(runs: list[Json]) -> Json:
    """Task, machines, cases, runs and comparisons; runs say by number which machine they ran on."""
    cases = sorted({case for run in runs for by_case in run["scores"].values() for case in by_case}, key=_natural)
    machines: list[Json] = []
    for run in runs:
        if run["machine"] not in machines:
            machines.append(run["machine"])
    kept = [_compact(run, cases) | {"machine": machines.index(run["machine"])} for run in runs]
    whole = {"task": runs[0]["task"], "machines": machines, "cases": cases, "runs": kept}
    return whole | {"comparisons": [row for data in DATA for row in _comparisons(whole, data)]}


def joined(earlier: Json, later: Json) -> Json:
    """Two studies as one; a run that both have is taken from the later.

    Raises:
        ValueError: they are not about one task and one list of test cases.
    """
    for what in ("task", "cases"):
        if earlier[what] != later[what]:
            raise ValueError(f"collect: expected studies of the same {what}; got different ones; keep them apart")

    def of(run: Json) -> tuple[str, str, int]:
        return run["data"], run["variant"], run["seed"]

    made = {of(run) for run in later["runs"]}
    machines = [*later["machines"], *(found for found in earlier["machines"] if found not in later["machines"])]
    kept = [
        run | {"machine": machines.index(earlier["machines"][run["machine"]])}
        for run in earlier["runs"]
        if of(run) not in made
    ]
    whole = {"task": later["task"], "machines": machines, "cases": later["cases"], "runs": kept + later["runs"]}
    return whole | {"comparisons": [row for data in DATA for row in _comparisons(whole, data)]}


def names(whole: Json, data: str) -> list[str]:
    """The variants that were trained on this data."""
    return list(dict.fromkeys(run["variant"] for run in whole["runs"] if run["data"] == data))


def plain(whole: Json) -> Array:
    """Which cases of the study are plain phantoms."""
    return np.array([case.startswith(PLAIN) for case in whole["cases"]], bool)


def by_seed(whole: Json, data: str, variant: str, label: str, score: str, size: str = SIZE) -> dict[int, Array]:
    """A score of a variant by seed: a value per case of the study, NaN where there is none; not of runs that failed."""
    return {
        run["seed"]: np.array(run["scores"][size][label][score], float)
        for run in whole["runs"]
        if (run["data"], run["variant"]) == (data, variant) and run["finite"] and size in run["scores"]
    }


def text(whole: Json) -> str:
    """The study as JSON, a run or a comparison to a line."""
    parts = []
    for key, value in whole.items():
        listed = key in ("runs", "comparisons")
        parts.append(f'"{key}":' + ("[\n" + ",\n".join(map(_dumped, value)) + "\n]" if listed else _dumped(value)))
    return "{" + ",\n".join(parts) + "}\n"


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
            # All pairs are one family: that is how many chances there are to find a difference that is none.
            for row, corrected in zip(rows, holm(np.array([row["p"] for row in rows])), strict=True):
                yield _rounded(row | {"p_holm": float(corrected)})


def _compact(run: Json, cases: list[str]) -> Json:
    short = {name: run[name] for name in ("variant", "data", "seed", "parameters", "finite")}
    short |= {name: _significant(run[name]) for name in ("seconds_per_step", "peak_memory_mib")}
    short["scores"] = {
        size: {
            label: {score: [_score(by_case, case, label, score) for case in cases] for score in kept}
            for label, kept in (KEPT if size == SIZE else KEPT_ELSEWHERE).items()
        }
        for size, by_case in run["scores"].items()
    }
    short["probes"] = {size: [_probe(level) for level in levels] for size, levels in run["probes"].items()}
    return short


def _score(by_case: Json, case: str, label: str, score: str) -> float | None:
    value = by_case.get(case, {}).get(label, {}).get(score)
    return None if value is None else round(value, 4)


def _probe(level: Json) -> Json:
    return {half: {name: _significant(value) for name, value in found.items()} for half, found in level.items()}


def _rounded(row: Json) -> Json:
    row |= {name: _significant(row[name]) for name in ("p", "p_holm")}
    row |= {name: round(row[name], 5) for name in ("difference", "rank_biserial")}
    for name in ("interval_cases", "interval"):
        # One seed, or one case, gives none.
        row[name] = [round(end, 5) for end in row[name]] if all(map(isfinite, row[name])) else None
    return row


def _significant(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")


def _natural(case: str) -> list[tuple[int, str]]:
    return [(int(part), "") if re.fullmatch("[0-9]+", part) else (-1, part) for part in re.split(r"([0-9]+)", case)]


def _dumped(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def _study_in(path: Path) -> Json:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: expected a study as this command writes it; got {error}") from error
    if not isinstance(found, dict) or not {"task", "machines", "cases", "runs"} <= set(found):
        raise ValueError(f"{path}: expected a study as this command writes it; got other JSON")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accuracy.collect", description=__doc__)
    parser.add_argument("--runs", type=Path, nargs="+", required=True, metavar="DIR",
                        help="folders with the runs' files")  # fmt: skip
    parser.add_argument("--add-to", type=Path, metavar="STUDY", help="an earlier study, to which the runs are added")
    parser.add_argument("--json", type=Path, required=True, help="where to write the study")
    arguments = parser.parse_args()
    try:
        whole = study(read(arguments.runs))
        if arguments.add_to is not None:
            whole = joined(_study_in(arguments.add_to), whole)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    unfinished = arguments.json.with_name(arguments.json.name + ".part")
    unfinished.write_text(text(whole), encoding="utf-8")
    unfinished.replace(arguments.json)
    print(f"{arguments.json}: {len(whole['runs'])} runs, {len(whole['comparisons'])} comparisons")
    return 0


if __name__ == "__main__":
    sys.exit(main())
