"""A run's file, read and checked: what is wrong with it is said in one line."""

import json
from collections.abc import ItemsView, Sequence
from math import isfinite
from pathlib import Path
from typing import Any

#: The size of the training's patches, at which variants are compared.
SIZE = "1"
#: What a variant may be trained on: plain phantoms and ones around real anatomies, or plain ones alone.
DATA = ("all", "plain")
#: What a run's file has to hold; the figures of a run that failed may be null.
FIELDS: dict[str, tuple[type, ...]] = {
    "variant": (str,),
    "data": (str,),
    "seed": (int,),
    "task": (dict,),
    "parameters": (int,),
    "seconds_per_step": (int, float, type(None)),
    "peak_memory_mib": (int, float, type(None)),
    "finite": (bool,),
    "scores": (dict,),
    "probes": (dict,),
    "machine": (dict,),
}

Json = dict[str, Any]


def read(folders: Sequence[Path]) -> list[Json]:
    """The runs in these folders, checked, by data, variant and seed.

    Raises:
        ValueError: If a folder has none, if a file is no run, if two are the same run, or if they are of several tasks.
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
    """One run, checked.

    Raises:
        ValueError: If the file is not JSON, not of this benchmark, or holds values that no run gives.
    """
    try:
        # Python writes NaN and Infinity, which are no JSON, for the losses of a run that failed.
        run = json.loads(path.read_text(encoding="utf-8"), parse_float=_finite, parse_constant=_finite)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: expected JSON ({error}); the file is damaged, remove it and run it again") from None
    if not isinstance(run, dict):
        raise ValueError(f"{path}: not a run of this benchmark, expected an object, got {type(run).__name__}")
    for name, kinds in FIELDS.items():
        if name not in run:
            raise ValueError(f"{path}: not a run of this benchmark, it has no {name!r}")
        # To Python, true and false are integers.
        if not isinstance(run[name], kinds) or (isinstance(run[name], bool) and bool not in kinds):
            expected = " or ".join("null" if kind is type(None) else kind.__name__ for kind in kinds)
            raise ValueError(f"{path}: expected {name!r} to be {expected}, got {_short(run[name])}")
    if run["data"] not in DATA:
        raise ValueError(f"{path}: expected 'data' to be one of {', '.join(DATA)}, got {_short(run['data'])}")
    if run["finite"] and not run["scores"].get(SIZE):
        raise ValueError(f"{path}: expected scores at size {SIZE!r} of a run that did not fail, got none")
    _check_scores(path, run["scores"])
    _check_probes(path, run["probes"])
    return run


def _finite(text: str) -> float | None:
    value = float(text)
    return value if isfinite(value) else None


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
                    if not (value is None or (_is_number(value) and 0 <= value <= 1)):
                        what = f"{name} of {label} in {case} at size {size}"
                        raise ValueError(f"{path}: expected {what} to be 0 to 1 or null, got {_short(value)}")


def _check_probes(path: Path, probes: Json) -> None:
    for size, levels in probes.items():
        if not isinstance(levels, list):
            raise ValueError(f"{path}: expected probes at {size} to be a list of levels, got {_short(levels)}")
        for level in levels:
            for half, by_name in _items(path, f"probes at {size}", level):
                for name, value in _items(path, f"{half} at {size}", by_name):
                    if not (value is None or _is_number(value)):
                        what = f"{name} of {half} at {size}"
                        raise ValueError(f"{path}: expected {what} to be a number or null, got {_short(value)}")


def _items(path: Path, what: str, value: object) -> ItemsView[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{path}: expected {what} to be an object, got {_short(value)}")
    return value.items()


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _short(value: object) -> str:
    return f"{value!r:.60}"
