"""The files of a run: their names, and its result, read and checked; an error says in one line what is wrong."""

import json
from collections.abc import ItemsView, Sequence
from math import isfinite
from pathlib import Path
from typing import Any

#: The size of the training patches, at which variants are compared.
SIZE = "1"
#: In place of a size: scores at the training's with attention maps and gates frozen to their means.
FROZEN = "frozen"
#: In place of a size: scores of real CTs.
REAL_CT = "ct"
#: Cases to train on: plain phantoms and ones around real anatomies, or plain ones only.
DATA = ("all", "plain")
_FIGURE = (int, float, type(None))
#: Fields of a result and their types; the figures of a run that failed may be null.
FIELDS: dict[str, tuple[type, ...]] = {
    "variant": (str,), "data": (str,), "seed": (int,), "task": (dict,), "parameters": (int,),
    "seconds_per_step": _FIGURE, "peak_memory_mib": _FIGURE, "finite": (bool,), "scores": (dict,), "probes": (dict,),
    "machine": (dict,),
}  # fmt: skip

Json = dict[str, Any]


def file_of(runs: Path, variant: str, seed: int, data: str) -> Path:
    """Return the path of the result of a run, which exists once the run is finished."""
    return runs / (f"{variant}-{seed}.json" if data == "all" else f"{variant}-{seed}-{data}.json")


def net_of(result: Path) -> Path:
    """Return the path of the weights of a finished run."""
    return result.with_suffix(".net.pt")


def checkpoints_of(result: Path) -> Path:
    """Return the folder of the checkpoints of an unfinished run."""
    return result.with_suffix(".checkpoints")


def read(folders: Sequence[Path]) -> list[Json]:
    """Return the runs in these folders, checked, by data, variant and seed.

    Raises:
        ValueError: a folder has none, a file is not a run, two are the same run, or they are of several tasks.
    """
    paths: list[Path] = []
    for folder in folders:
        if not (inside := sorted(folder.glob("*.json"))):
            raise ValueError(f"{folder}: expected runs, <variant>-<seed>.json, got none; run the benchmark first")
        paths += inside
    found: dict[tuple[str, str, int], tuple[Path, Json]] = {}
    for path in paths:
        run = read_run(path)
        if found:
            first, other = next(iter(found.values()))
            _check_task(path, run["task"], first, other["task"])
        key = (run["data"], run["variant"], run["seed"])
        if key in found:
            raise ValueError(f"{path}: the same variant, data and seed as {found[key][0]}; remove one of them")
        found[key] = (path, run)
    return [found[key][1] for key in sorted(found)]


def read_run(path: Path) -> Json:
    """Return one run, checked.

    Raises:
        ValueError: the file is not JSON, not of this benchmark, or holds values that no run gives.
    """
    try:
        # Python writes NaN and Infinity, which JSON lacks, for the losses of a run that failed.
        run = json.loads(path.read_text(encoding="utf-8"), parse_float=_finite, parse_constant=_finite)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: expected JSON ({error}); the file is damaged, remove it and run it again") from None
    if not isinstance(run, dict):
        raise ValueError(f"{path}: not a run of this benchmark, expected an object, got {type(run).__name__}")
    for name, kinds in FIELDS.items():
        if name not in run:
            raise ValueError(f"{path}: not a run of this benchmark, it has no {name!r}")
        # In Python, true and false are integers.
        fits = isinstance(run[name], kinds) and (bool in kinds or not isinstance(run[name], bool))
        expected = " or ".join("null" if kind is type(None) else kind.__name__ for kind in kinds)
        _check(path, fits, repr(name), expected, run[name])
    _check(path, run["data"] in DATA, "'data'", f"one of {', '.join(DATA)}", run["data"])
    if run["finite"] and not run["scores"].get(SIZE):
        raise ValueError(f"{path}: expected scores at size {SIZE!r} of a run that did not fail, got none")
    _check_scores(path, run["scores"])
    _check_probes(path, run["probes"])
    return run


def _finite(text: str) -> float | None:
    value = float(text)
    return value if isfinite(value) else None


def _check(path: Path, fits: bool, what: str, expected: str, value: object) -> None:
    if not fits:
        raise ValueError(f"{path}: expected {what} to be {expected}, got {_short(value)}")


def _check_task(path: Path, task: Json, first: Path, other: Json) -> None:
    if task == other:
        return
    key = next(key for key in other | task if task.get(key) != other.get(key) or (key in task) != (key in other))
    ours, theirs = (_short(found[key]) if key in found else "missing" for found in (task, other))
    raise ValueError(f"{path}: not the task of {first}, {key!r} is {ours}, not {theirs}; collect each task by itself")


def _check_scores(path: Path, scores: Json) -> None:
    for size, by_case in scores.items():
        for case, by_class in _items(path, f"scores at size {size}", by_case):
            for label, by_name in _items(path, f"scores of {case}", by_class):
                for name, value in _items(path, f"{label} of {case}", by_name):
                    fits = value is None or (_is_number(value) and 0 <= value <= 1)
                    _check(path, fits, f"{name} of {label} in {case} at size {size}", "0 to 1 or null", value)


def _check_probes(path: Path, probes: Json) -> None:
    for size, levels in probes.items():
        _check(path, isinstance(levels, list), f"probes at {size}", "a list of levels", levels)
        for level in levels:
            for half, by_name in _items(path, f"probes at {size}", level):
                for name, value in _items(path, f"{half} at {size}", by_name):
                    fits = value is None or _is_number(value)
                    _check(path, fits, f"{name} of {half} at {size}", "a number or null", value)


def _items(path: Path, what: str, value: object) -> ItemsView[str, Any]:
    _check(path, isinstance(value, dict), what, "an object", value)
    return value.items()  # type: ignore[attr-defined, no-any-return]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _short(value: object) -> str:
    return f"{value!r:.60}"
