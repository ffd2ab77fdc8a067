"""python -m benchmarks.accuracy.causes --cases DATA --runs RUNS --variants NAMES --json FILE: why nets score so.

Looks at nets that `benchmarks.accuracy` has trained: what they find of vessels by caliber and of tumors by brightness,
how much gradient each skip hands on before and after training, and what is left when attention maps are frozen to
their means. Nets that the file has already are not looked at again.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.accuracy.cases import Prepared, batch, names_for_testing, names_for_training, prepare, read_case
from benchmarks.accuracy.causes.found import Counts, taken_for, tumors_by_brightness, vessels_by_caliber
from benchmarks.accuracy.causes.frozen import Maps, frozen, mean_maps, terms
from benchmarks.accuracy.causes.gradients import Batches, handed_on
from benchmarks.accuracy.reading import Json, read_run
from benchmarks.accuracy.run import file_of, loss, net_of
from benchmarks.accuracy.scoring import predicted, scored
from benchmarks.accuracy.task import TASKS, Task
from benchmarks.accuracy.variants import make
from benchmarks.speed.machine import machine
from crossattn3d.unet import UNet3d
from ltvs.model.stages import CLASSES

#: Batches of the training cases, none of which a run has trained on, for gradients and mean maps.
BATCHES = 16


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accuracy.causes", description=__doc__)
    parser.add_argument("--cases", type=Path, required=True)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--variants", nargs="+", required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="(default: 0 1 2)")
    parser.add_argument("--task", choices=tuple(TASKS), default="cpu")
    parser.add_argument("--json", type=Path, required=True, help="the result, added to if it is there")
    a = parser.parse_args()
    try:
        study(a.cases, a.runs, [(v, s) for s in a.seeds for v in a.variants], TASKS[a.task], a.json)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def study(folder: Path, runs: Path, wanted: list[tuple[str, int]], task: Task, result: Path) -> None:
    """Look at each net and write what was seen after each."""
    whole: Json = {"task": task.as_dict(), "nets": []}
    if result.exists():
        whole["nets"] = _read(result, whole["task"])
    done = {(net["variant"], net["seed"]) for net in whole["nets"]}
    todo = [job for job in wanted if job not in done]
    nets = {job: _net(runs, *job, task) for job in todo}
    training, testing = (
        [prepare(name, read_case(folder / f"{name}.npz"), task) for name in names]
        for names in (names_for_training(folder, "all"), names_for_testing(folder))
    )
    batches = [batch(training, task, 0, task.steps + i) for i in range(BATCHES)]
    for (variant, seed), net in nets.items():
        seen = looked_at(net, variant, seed, task, batches, testing)
        whole["nets"].append({"variant": variant, "seed": seed, "machine": machine(torch.device("cpu"))} | seen)
        _write(whole, result)
        print(f"{variant} {seed}: done", flush=True)


def looked_at(net: UNet3d, variant: str, seed: int, task: Task, batches: Batches, testing: list[Prepared]) -> Json:
    """All that this benchmark says of one trained net."""
    gradients = {
        "start": handed_on(make(variant, task, seed), loss(task), batches),
        "end": handed_on(net, loss(task), batches),
    }
    net.eval()
    images = [image for image, _ in batches]
    maps = mean_maps(net, images)
    seen: Json = {"gradients": gradients, "terms": terms(net, images), "maps": [_rounded(of_skip) for of_skip in maps]}
    predictions = _predictions(net, testing, task)
    seen |= {"dice": _dice(predictions, testing), "found": _found(predictions, testing)}
    if any(maps):
        seen["dice_frozen"] = _dice(_predictions(frozen(net, maps), testing, task), testing)
    return seen


def _predictions(net: UNet3d, testing: list[Prepared], task: Task) -> list[Tensor]:
    return [predicted(net, case, task.patch, torch.device("cpu")) for case in testing]


def _dice(predictions: list[Tensor], testing: list[Prepared]) -> dict[str, float]:
    by_case = [scored(p, case, None) for p, case in zip(predictions, testing, strict=True)]
    return {
        label: float(np.mean([scores[label]["dice"] for scores in by_case if scores[label]["dice"] is not None]))
        for label in CLASSES[2][1:]
    }


def _found(predictions: list[Tensor], testing: list[Prepared]) -> Json:
    pairs = [(p.numpy(), case) for p, case in zip(predictions, testing, strict=True)]
    return {
        "vessels": _summed([vessels_by_caliber(*pair) for pair in pairs]),
        "tumors": _summed([tumors_by_brightness(*pair) for pair in pairs]),
        "taken_for": np.sum([taken_for(*pair) for pair in pairs], axis=0).tolist(),
    }


def _summed(counts: list[Counts]) -> Counts:
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
    except Exception as error:  # whatever a damaged file makes of torch.load, which would say more than is safe to do
        raise ValueError(
            f"{path}: expected the weights of {variant}; got a damaged file or others; remove it and {result.name} and "
            "run benchmarks.accuracy again"
        ) from error
    return net.to(memory_format=torch.channels_last_3d)


def _read(path: Path, task: Json) -> list[Json]:
    """What was seen of the nets so far."""
    try:
        whole: Json = json.loads(path.read_text(encoding="utf-8"))
        earlier, nets = whole["task"], list(whole["nets"])
        _ = [(net["variant"], net["seed"]) for net in nets]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{path}: expected what this command wrote ({error!r:.80}); remove it") from None
    if earlier != task:
        raise ValueError(f"{path}: expected the same task; got another; give another --json")
    return nets


def _write(whole: Json, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".part")
    unfinished.write_text(json.dumps(whole, allow_nan=False) + "\n", encoding="utf-8")
    unfinished.replace(path)


def _rounded(maps: Maps) -> dict[str, list[list[float]]]:
    return {name: [[round(value, 4) for value in row] for row in of_half.tolist()] for name, of_half in maps.items()}


if __name__ == "__main__":
    sys.exit(main())
