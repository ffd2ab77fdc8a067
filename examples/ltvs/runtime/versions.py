"""What a run was made with: versions of the libraries, the commit, the machine."""

import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

import monai
import numpy as np
import torch

import crossattn3d


def versions() -> dict[str, str]:
    """Of all that decides the numbers."""
    return {
        "crossattn3d": crossattn3d.__version__,
        "commit": commit(),
        "torch": torch.__version__,
        "monai": monai.__version__,
        "numpy": np.__version__,
        "lightning-fabric": version("lightning-fabric"),
        "python": platform.python_version(),
        "system": platform.platform(),
    }


def commit() -> str:
    """Of the checkout that this file is in, with `+` if files differ from it; empty if it is in none."""
    here = Path(__file__).resolve().parent
    try:
        words = ["git", "-C", str(here), "describe", "--always", "--dirty=+", "--abbrev=12", "--exclude=*"]
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
