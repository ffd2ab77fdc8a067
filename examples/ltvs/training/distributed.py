"""Several devices and machines through Lightning Fabric."""

import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.precision import MixedPrecision
from lightning_fabric.plugins.precision import Precision as FullPrecision

from ltvs.model.precision import Precision
from ltvs.runtime.errors import InputError


def start_processes(device: str, devices: int, nodes: int, precision: Precision) -> Fabric:
    """Start a process for each device, if torchrun or SLURM has not, and join them; says nothing on its own.

    Args:
        device: `cpu`, `cuda`, `cuda:1`, ...
        devices: on each machine.
        nodes: machines.
        precision: of the layers.

    Raises:
        InputError: torchrun or SLURM has started another number of processes.
    """
    logging.getLogger("lightning_fabric").setLevel(logging.ERROR)
    launcher = logging.getLogger("lightning_fabric.strategies.launchers.subprocess_script")
    launcher.setLevel(logging.INFO)
    launcher.propagate = False
    launcher.handlers = [_LastWord()]
    warnings.filterwarnings("ignore", module=r"lightning_fabric\.")
    # A kernel of one voxel has strides that say nothing; its gradient is copied, which costs nothing.
    warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
    # In float16 a step whose gradients are too large is skipped, which is no news; the first ones may be.
    warnings.filterwarnings("ignore", message=r"Detected call of .lr_scheduler\.step")
    where = torch.device(device)
    try:
        fabric = Fabric(
            accelerator=where.type,
            devices=devices if where.index is None else [where.index],
            num_nodes=nodes,
            strategy="ddp" if devices * nodes > 1 else "auto",
            plugins=[FullPrecision() if precision == "32" else MixedPrecision(precision, where.type)],
        )
        fabric.launch()
    except (ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"--devices {devices} --nodes {nodes}: do not fit how this was started; {reason}") from error
    return fabric


@contextmanager
def lost_processes() -> Iterator[None]:
    """Turn what this process meets where another one is gone into a line that says so.

    Raises:
        InputError: a process that this one waits for has ended, or cannot be reached.
    """
    try:
        yield
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        if not (isinstance(error, torch.distributed.DistError) or "/gloo/" in reason):
            raise
        # Gloo begins with the line of its own source.
        raise InputError(_lost(reason.partition("] ")[2].partition(". ")[0] or reason)) from error


def _lost(reason: str) -> str:
    return (
        f"another process of this training has ended ({reason}); if it has not said why, it was killed, perhaps for "
        "want of memory; the same command again goes on from the last checkpoint"
    )


class _LastWord(logging.Handler):
    """Says for this process what Fabric logs before it kills it, since it may be waiting for one that has ended."""

    def emit(self, record: logging.LogRecord) -> None:
        reason = record.getMessage().partition("] ")[2].partition(". ")[0]
        print(f"error: {_lost(reason)}", file=sys.stderr, flush=True)


def is_first_process() -> bool:
    """Whether this process is the one that writes and speaks; known before the others are started."""
    rank = next((os.environ[name] for name in ("RANK", "SLURM_PROCID") if name in os.environ), None)
    if rank is None:
        rank = os.environ.get("LOCAL_RANK", "0") if os.environ.get("NODE_RANK", "0") == "0" else "1"
    return rank == "0"


def make_deterministic() -> None:
    """Only algorithms that give the same twice, where PyTorch has one; it warns where it has none."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = False
