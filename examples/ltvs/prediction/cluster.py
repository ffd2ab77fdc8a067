"""The place of this command among those that share the cases: started alone, by torchrun, or by SLURM.

Lightning Fabric knows how each of them tells a process its rank. Nothing connects the processes: they share a folder.
"""

import os
import warnings
from dataclasses import dataclass

from ltvs.runtime.errors import InputError


@dataclass(frozen=True)
class Place:
    """Where the processes of this command stand among all.

    Args:
        rank: of this command among those started; that of rank 0 prints and writes the tables.
        devices: one for each process of this command.
        first: index of its first process among all.
        count: of all processes.
    """

    rank: int
    devices: tuple[str, ...]
    first: int
    count: int


def place_here(device: str, devices: int, nodes: int) -> Place:
    """Return the place of this command.

    Args:
        device: `cpu`, `cuda`, `cuda:1`, ...
        devices: on each machine.
        nodes: machines.

    Raises:
        InputError: torchrun or SLURM started a different number of processes.
    """
    # Importing Fabric takes seconds, which one process on one machine need not wait for.
    if devices == nodes == 1 and not {"TORCHELASTIC_RUN_ID", "SLURM_NTASKS"} & os.environ.keys():
        return Place(0, (device,), 0, 1)
    from lightning_fabric.plugins.environments.lightning import LightningEnvironment
    from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
    from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for kind in (TorchElasticEnvironment, SLURMEnvironment):
                if kind.detect():
                    environment = kind()
                    environment.validate_settings(devices, nodes)
                    rank, local = environment.global_rank(), environment.local_rank()
                    return Place(rank, (_numbered(device, local, devices),), rank, environment.world_size())
            node = LightningEnvironment().node_rank()
    except (ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"--devices {devices} --nodes {nodes}: do not fit how this was started; {reason}") from error
    named = tuple(_numbered(device, index, devices) for index in range(devices))
    return Place(node, named, node * devices, nodes * devices)


def _numbered(device: str, index: int, devices: int) -> str:
    """Return the name of the device with an index, where there are several of a kind: all processors are one."""
    return f"{device}:{index}" if devices > 1 and device == "cuda" else device
