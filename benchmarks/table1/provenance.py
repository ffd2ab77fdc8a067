"""Where results of a study come from: they are made one by one, over hours, and kept."""

from typing import Any

import torch

from benchmarks.machine import PACKAGES, machine
from ltvs.model.computing import best_device


def made_with() -> dict[str, Any]:
    """Return device, versions and commit, as JSON holds them."""
    return machine(torch.device(best_device()), (*PACKAGES, "SimpleITK"))
