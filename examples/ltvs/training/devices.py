"""The devices that networks run on."""

import torch

from ltvs.runtime.errors import InputError


def best_device() -> str:
    """`cuda` where there is one, else `cpu`."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def check_device(name: str, count: int = 1) -> None:
    """Raise InputError if PyTorch cannot compute on the device of this name, or on `count` of them."""
    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"--device {name}: expected cpu, cuda, cuda:1, ... that is there; {reason}") from error
    device = torch.device(name)
    if count > 1 and device.index is not None:
        raise InputError(f"--devices {count}: expected 1 with --device {name}, which is a single one; give cuda")
    if device.type == "cuda" and count > torch.cuda.device_count():
        raise InputError(f"--devices {count}: this machine has {torch.cuda.device_count()}")


def check_layout(batch_size: int, devices: int, accumulate: int) -> None:
    """Raise InputError if a batch cannot be shared evenly.

    Args:
        batch_size: patches of a step.
        devices: that share them, over all machines.
        accumulate: parts in which each device computes its share.
    """
    if batch_size % (devices * accumulate):
        raise InputError(
            f"--batch-size {batch_size}: expected a multiple of {devices * accumulate}, since it is shared by "
            f"{devices} {'devices' if devices > 1 else 'device'} in {accumulate} "
            f"{'parts' if accumulate > 1 else 'part'} each (--devices, --nodes, --accumulate)"
        )
