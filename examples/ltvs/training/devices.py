"""Devices and machines that train together, through Lightning Fabric, and what to do if one of them fails."""

import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from ltvs.model.computing import PRECISIONS, Precision, check_device
from ltvs.runtime.choices import check_choice
from ltvs.runtime.errors import InputError, one_line, ran_out_of_memory
from ltvs.training.settings import TrainSettings

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def start_processes(device: str, devices: int, nodes: int, precision: Precision) -> "Fabric":
    """Start a process for each device, unless torchrun or SLURM did, and connect them, silently.

    Args:
        device: `cpu`, `cuda`, `cuda:1`, ...
        devices: on each machine.
        nodes: machines.
        precision: of the layers.

    Raises:
        InputError: torchrun or SLURM started a different number of processes, or there are no such devices or no such
            precision.
    """
    check_device(device, devices)
    check_choice("--precision", precision, PRECISIONS)
    # Here, since importing Fabric takes seconds, which wrong arguments need not wait for.
    from lightning_fabric import Fabric
    from lightning_fabric.plugins.precision import MixedPrecision
    from lightning_fabric.plugins.precision import Precision as FullPrecision

    logging.getLogger("lightning_fabric").setLevel(logging.ERROR)
    launcher = logging.getLogger("lightning_fabric.strategies.launchers.subprocess_script")
    launcher.setLevel(logging.INFO)
    launcher.propagate = False
    launcher.handlers = [_ReportBeforeKill()]
    warnings.filterwarnings("ignore", module=r"lightning_fabric\.")
    # The strides of a one-voxel kernel are arbitrary; copying its gradient costs nothing.
    warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
    # In float16 steps whose gradients overflow are skipped as designed, often the first ones.
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
    """Turn the error that a process gets when another one is lost into a line that says so.

    Raises:
        InputError: a process that this one waits for has ended, or cannot be reached.
    """
    try:
        yield
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        distributed = torch.distributed.is_available() and isinstance(error, torch.distributed.DistError)
        if not (distributed or "/gloo/" in reason):
            raise
        # Gloo's messages begin with a line of its own source code.
        raise InputError(_lost(reason.partition("] ")[2].partition(". ")[0] or reason)) from error


def is_first_process() -> bool:
    """Return whether this process will be rank 0, which writes and prints; works before the others are started."""
    rank = next((os.environ[name] for name in ("RANK", "SLURM_PROCID") if name in os.environ), None)
    if rank is None:
        rank = os.environ.get("LOCAL_RANK", "0") if os.environ.get("NODE_RANK", "0") == "0" else "1"
    return rank == "0"


def make_deterministic() -> None:
    """Use deterministic algorithms only; PyTorch warns where it has none."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = False


@contextmanager
def memory_errors(settings: TrainSettings) -> Iterator[None]:
    """Turn a failed allocation into a line of advice.

    Raises:
        InputError: memory ran out, on a GPU or in the machine.
    """
    try:
        yield
    except Exception as error:
        if not ran_out_of_memory(error):
            raise
        reason = f"--device {settings.device}: out of memory ({one_line(error)[:120]})"
        raise InputError(f"{reason}; {memory_advice(settings)}") from error


def memory_advice(settings: TrainSettings) -> str:
    """Return the settings to change, first those that cost nothing but time.

    Example:
        >>> from pathlib import Path
        >>> memory_advice(TrainSettings(Path("data"), Path("run"), batch_size=4, device="cpu"))
        'try --accumulate 2 (the same batch in parts), --use-checkpoint, --precision bf16-mixed, or a smaller --patch'
    """
    share = settings.batch_size // (settings.devices * settings.nodes)
    parts = next((k for k in range(settings.accumulate + 1, share + 1) if share % k == 0), None)
    ways = []
    if parts:
        ways.append(f"--accumulate {parts} (the same batch in parts)")
    if not settings.use_checkpoint:
        ways.append("--use-checkpoint")
    if settings.precision == "32":
        ways.append("--precision bf16-mixed")
    return f"try {', '.join([*ways, ''])}{'or ' if ways else ''}a smaller --patch"


class _ReportBeforeKill(logging.Handler):
    """Prints why Fabric kills this process, which may itself be waiting for one that has ended."""

    def emit(self, record: logging.LogRecord) -> None:
        reason = record.getMessage().partition("] ")[2].partition(". ")[0]
        print(f"error: {_lost(reason)}", file=sys.stderr, flush=True)


def _lost(reason: str) -> str:
    return (
        f"another process of this training has ended ({reason}); if it gave no reason, it was killed, perhaps because "
        "memory ran out; the same command resumes from the last checkpoint"
    )
