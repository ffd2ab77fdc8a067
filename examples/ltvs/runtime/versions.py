"""Versions of everything that a run depends on: libraries, the commit, Python, the system."""

import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

import crossattn3d


def versions() -> dict[str, str]:
    """Return the versions of everything that can change results, by name."""
    return {
        "crossattn3d": crossattn3d.__version__,
        "commit": commit(),
        "torch": torch.__version__,
        "monai": version("monai"),
        "numpy": np.__version__,
        "lightning-fabric": version("lightning-fabric"),
        "python": platform.python_version(),
        "system": platform.platform(),
    }


def commit() -> str:
    """Return the commit of the checkout of this file, with `+` if files differ from it; empty outside a checkout."""
    here = Path(__file__).resolve().parent
    try:
        words = ["git", "-C", str(here), "describe", "--always", "--dirty=+", "--abbrev=12", "--exclude=*"]
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
