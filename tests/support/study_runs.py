"""Runs of an accuracy study as their files hold them, made up, with values that tests know."""

import json
from pathlib import Path

NAN = float("nan")
CASES = ["plain-0002", "plain-0010", "3dircadb-2", "3dircadb-10", "plain-0001"]
TASK = {"patch": [16, 48, 48], "steps": 250, "widths": [8, 16]}
MACHINE = {"device": "cpu", "name": "C", "threads": 2, "commit": "abc", "versions": {"torch": "2.13.0"}}


def made_run(variant: str, seed: int, base: float, **changes: object) -> dict:
    """A run whose vessel Dice is `base` and its seed's hundredth, and a little more from case to case."""

    def of(case: int, loss: float) -> dict:
        dice = base + seed / 100 + case / 500 - loss
        tumor = (
            {"dice": None, "iou": None, "cldice": None} if case == 3 else {"dice": dice / 2, "iou": 0.1, "cldice": 0}
        )
        return {"vessel": {"dice": dice, "iou": dice / (2 - dice), "cldice": 1 - dice}, "tumor": tumor}

    level = {"channel": {"spread": 0.5, "entropy": 0.9}, "slices": {"spread": 12345.678, "entropy": 0.25}}
    return {
        "variant": variant,
        "data": "all",
        "seed": seed,
        "task": TASK,
        "parameters": 123456,
        "seconds_per_step": 0.25,
        "peak_memory_mib": 812.4,
        "losses": [[20, 1.5], [40, 1.25]],
        "finite": True,
        "scores": {
            "1": {name: of(number, 0) for number, name in enumerate(CASES)},
            "0.25": {name: of(number, 0.1) for number, name in enumerate(CASES[:2])},
        },
        "probes": {"16x96x96": [level, {"channel": {"spread": 1, "entropy": 0.75}}], "16x48x48": [level, level]},
        "machine": MACHINE,
    } | changes


def failed_run(variant: str, seed: int) -> dict:
    return made_run(variant, seed, 0.1, finite=False, scores={}, probes={}, losses=[[20, NAN]])


def write_runs(folder: Path) -> Path:
    """Eight runs of four variants, two of which failed, in a new folder."""
    folder.mkdir()
    for run in [
        *(made_run("concat", seed, 0.5, probes={}, seconds_per_step=0.5) for seed in (0, 1, 2)),
        *(made_run("instance", seed, 0.6) for seed in (0, 1)),
        made_run("mean", 0, 0.4),
        failed_run("mean", 1),
        failed_run("none", 0),
    ]:
        (folder / f"{run['variant']}-{run['seed']}.json").write_text(json.dumps(run))
    return folder
