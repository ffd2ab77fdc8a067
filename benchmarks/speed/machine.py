"""What the figures were measured on: device, versions, commit, and the bandwidth of its memory."""

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from benchmarks.speed.measure import interleaved

ROOT = Path(__file__).parents[2]
#: What decides whether freed memory is kept or goes back to the system.
ALLOCATOR = ("LD_PRELOAD", "GLIBC_TUNABLES")


def machine(device: torch.device) -> dict[str, Any]:
    """Device, versions and commit, as JSON holds them."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()
    return {
        "device": device.type,
        "name": name,
        "threads": torch.get_num_threads(),
        "processors": os.cpu_count(),
        "allocator": {name: os.environ[name] for name in ALLOCATOR if name in os.environ},
        "commit": _commit(),
        "versions": {package: _version(package) for package in ("torch", "triton", "monai", "crossattn3d")}
        | {"python": platform.python_version()},
    }


def bandwidth(device: torch.device) -> float:
    """Bytes read and written per second by a copy that no cache can hold: the most a pass over the maps can reach."""
    source = torch.ones(2**30 if device.type == "cuda" else 2**26, device=device)
    target = torch.zeros_like(source)
    copied = interleaved({"copy": lambda: target.copy_(source)}, device, rounds=9)["copy"]
    return 2 * source.nbytes / copied.low


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _commit() -> str | None:
    """The commit, with a mark if the tree has changes that are not in it; None outside a repository."""
    try:
        shown = subprocess.run(["git", "describe", "--always", "--dirty", "--abbrev=12"],
                               cwd=ROOT, capture_output=True, text=True, check=True)  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        return None
    return shown.stdout.strip()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
