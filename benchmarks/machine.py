"""The machine that figures were measured on: device, versions and commit."""

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from benchmarks import ROOT

#: Environment variables that decide whether freed memory is kept or goes back to the system.
ALLOCATOR = ("LD_PRELOAD", "GLIBC_TUNABLES")
PACKAGES = ("torch", "triton", "monai", "crossattn3d")


def machine(device: torch.device, packages: tuple[str, ...] = PACKAGES) -> dict[str, Any]:
    """Return device, versions and commit as JSON holds them."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()
    return {
        "device": device.type,
        "name": name,
        "threads": torch.get_num_threads(),
        "processors": os.cpu_count(),
        "allocator": {name: os.environ[name] for name in ALLOCATOR if name in os.environ},
        "commit": _commit(),
        "versions": {package: _version(package) for package in packages} | {"python": platform.python_version()},
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _commit() -> str | None:
    """Return the commit, marked if the tree has changes that are not in it; None outside a repository."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
