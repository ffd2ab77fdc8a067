"""A small task and small cases for tests of the accuracy study."""

from pathlib import Path

import numpy as np
import torch

from benchmarks.accuracy.cases import Volume, write_case
from benchmarks.accuracy.task import Task

TINY = Task(channels=(2, 3, 4, 5), patch=(8, 16, 16), batch=2, steps=4)
CPU = torch.device("cpu")


def volume(seed: int = 0, shape: tuple[int, int, int] = (10, 20, 24)) -> Volume:
    """A liver with a vessel and a tumor."""
    rng = np.random.default_rng(seed)
    labels = np.zeros(shape, np.uint8)
    labels[1:-1, 2:-2, 2:-2] = 1
    labels[3:5, 3:-3, 8:11] = 2
    labels[6:9, 12:17, 14:20] = 3
    hu = np.array([-80.0, 100.0, 160.0, 75.0])[labels] + rng.normal(0, 8, shape)
    return Volume(np.round(hu).astype(np.int16), labels)


def write_cases(folder: Path) -> Path:
    """Four cases: one of each kind."""
    for i, name in enumerate(("plain-train-000", "plain-000", "lits-10", "3dircadb-1")):
        write_case(folder / f"{name}.npz", volume(i))
    return folder
