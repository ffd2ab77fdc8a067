"""Look for the reasons behind the scores of networks that `benchmarks.accuracy` has trained.

For each network, the command measures which vessels it finds by caliber and which tumors by brightness, how much of
the gradient each skip passes on before and after training, and what the scores are when the attention maps are frozen
to their means. It skips networks whose results are already in the file.
"""

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from numpy import ndarray

from benchmarks.accuracy.case_scores import mean_dice, predicted, scored
from benchmarks.accuracy.cases import Prepared, batch, names_for_testing, names_for_training, prepared
from benchmarks.accuracy.causes.frozen_attention import Maps, frozen, mean_maps, terms
from benchmarks.accuracy.causes.recall import Counts, taken_for, tumors_by_brightness, vessels_by_caliber
from benchmarks.accuracy.causes.skip_gradients import Batches, passed_on
from benchmarks.accuracy.run_files import Json, file_of, net_of, read_run
from benchmarks.accuracy.task import TASKS, Task
from benchmarks.accuracy.variants import make
from benchmarks.machine import machine
from crossattn3d import UNet3d
from ltvs.runtime.files import read_json, write_json

#: Batches of the training cases, which no run has trained on, for gradients and mean maps.
BATCHES = 16
CPU = torch.device("cpu")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accuracy.causes", description=__doc__)
    parser.add_argument("--cases", type=Path, required=True, help="folder of cases from benchmarks.accuracy.data")
    parser.add_argument("--runs", type=Path, required=True, help="folder of runs from benchmarks.accuracy")
    parser.add_argument("--variants", nargs="+", required=True, help="variants to look into")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="seeds to look into (default: 0 1 2)")
    parser.add_argument(
        "--task", choices=tuple(TASKS), default="cpu", help="training settings, see task.py (default: cpu)"
    )
    parser.add_argument("--json", type=Path, required=True, help="file to write the results to, or to add them to")
    a = parser.parse_args()
    try:
        study(a.cases, a.runs, [(v, s) for s in a.seeds for v in a.variants], TASKS[a.task], a.json)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def study(folder: Path, runs: Path, wanted: list[tuple[str, int]], task: Task, result: Path) -> None:
    """Look into each network and write the result after each."""
    whole: Json = {"task": task.as_dict(), "nets": []}
    if result.exists():
        whole["nets"] = _read(result, whole["task"])
    done = {(net["variant"], net["seed"]) for net in whole["nets"]}
    nets = {job: _net(runs, *job, task) for job in wanted if job not in done}
    training = prepared(folder, names_for_training(folder, "all"), task)
    testing = prepared(folder, names_for_testing(folder), task)
    batches = [batch(training, task, 0, task.steps + i) for i in range(BATCHES)]
    for (variant, seed), net in nets.items():
        about = {"variant": variant, "seed": seed, "machine": machine(CPU)}
        whole["nets"].append(about | findings(net, make(variant, task, seed), task, batches, testing))
        write_json(result, whole)
        print(f"{variant} {seed}: done", flush=True)


def findings(net: UNet3d, untrained: UNet3d, task: Task, batches: Batches, testing: list[Prepared]) -> Json:
    """Return everything that this benchmark finds out about one trained network."""
    loss = task.loss()
    gradients = {"start": passed_on(untrained, loss, batches), "end": passed_on(net, loss, batches)}
    net.eval()
    images = [image for image, _ in batches]
    maps = mean_maps(net, images)
    predictions = [predicted(net, case, task.patch, CPU) for case in testing]
    found: Json = {
        "gradients": gradients,
        "terms": terms(net, images),
        "maps": [_rounded(of_skip) for of_skip in maps],
        "dice": _dice(predictions, testing),
        "found": {
            "vessels": _summed(map(vessels_by_caliber, predictions, testing)),
            "tumors": _summed(map(tumors_by_brightness, predictions, testing)),
            "taken_for": np.sum([*map(taken_for, predictions, testing)], axis=0).tolist(),
        },
    }
    if any(maps):
        fixed = frozen(net, maps)
        found["dice_frozen"] = _dice((predicted(fixed, case, task.patch, CPU) for case in testing), testing)
    return found


def _dice(predictions: Iterable[ndarray], testing: list[Prepared]) -> dict[str, float]:
    return mean_dice(scored(p, case, skeletons=False) for p, case in zip(predictions, testing, strict=True))


def _summed(by_case: Iterable[Counts]) -> Counts:
    counts = list(by_case)
    return {kind: np.sum([of_case[kind] for of_case in counts], axis=0).tolist() for kind in counts[0]}


def _net(runs: Path, variant: str, seed: int, task: Task) -> UNet3d:
    result = file_of(runs, variant, seed, "all")
    path = net_of(result)
    if not path.exists():
        left = f"; remove {result.name}, which has none" if result.exists() else ""
        raise ValueError(f"{path}: expected the weights of a finished run; found none; run benchmarks.accuracy{left}")
    run = read_run(result)
    if not run["finite"]:
        raise ValueError(f"{result}: expected a run that did not fail; got one that did; leave it out")
    if run["task"] != task.as_dict():
        raise ValueError(f"{result}: expected a run of this task; got another task's; see --task")
    net = make(variant, task, seed)
    try:
        net.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror})") from error
    except Exception as error:  # torch.load raises all kinds for damaged files, and suggests what is not safe
        raise ValueError(
            f"{path}: expected the weights of {variant}; got a damaged file or others; remove it and {result.name} and "
            "run benchmarks.accuracy again"
        ) from error
    return net.to(memory_format=torch.channels_last_3d)


def _read(path: Path, task: Json) -> list[Json]:
    """Return the findings that the file has already."""
    try:
        whole: Json = read_json(path)
        earlier, nets = whole["task"], list(whole["nets"])
        _ = [(net["variant"], net["seed"]) for net in nets]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{path}: expected what this command wrote ({error!r:.80}); remove it") from None
    if earlier != task:
        raise ValueError(f"{path}: expected the same task; got another; give another --json")
    return nets


def _rounded(maps: Maps) -> dict[str, list[list[float]]]:
    """Return the attention maps of a whole level; gates and maps of windows have more dimensions."""
    whole = {name: of_half.squeeze(0) if of_half.ndim == 3 else of_half for name, of_half in maps.items()}
    return {
        name: [[round(value, 4) for value in row] for row in of_half.tolist()]
        for name, of_half in whole.items()
        if of_half.ndim == 2
    }


if __name__ == "__main__":
    sys.exit(main())
