"""Batches of patches: the same ones whatever the number of devices, from any step of any epoch on."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from ltvs.interrupts import signals_blocked
from ltvs.patches import EpochSampler, PatchDataset

#: Images, targets and names of the cases.
Part = tuple[Tensor, Tensor, list[str]]


class EpochBatches(Sampler[list[tuple[int, int]]]):
    """The share that one process has of every batch, in as many parts as it computes one after the other.

    A batch is the next `batch_size` patches in the order of the epoch; the last one is filled up from the beginning, so
    that every batch is whole and every device has its share.

    Args:
        order: of the patches, by epoch.
        batch_size: patches of a step, over all processes and parts.
        parts: in which a process computes its share, accumulating gradients.
        rank, world: number of this process, and of processes.
    """

    def __init__(self, order: EpochSampler, batch_size: int, parts: int = 1, rank: int = 0, world: int = 1) -> None:
        self.order = order
        self.batch_size = batch_size
        self.parts = parts
        self.rank = rank
        self.world = world
        self.first_step = 0

    def __len__(self) -> int:
        return math.ceil(len(self.order) / self.batch_size) * self.parts

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        keys = list(self.order)
        size = self.batch_size // (self.world * self.parts)
        for step in range(self.first_step, len(self) // self.parts):
            first = step * self.batch_size + self.rank * self.parts * size
            for part in range(self.parts):
                begin = first + part * size
                yield [keys[i % len(keys)] for i in range(begin, begin + size)]


class Feed:
    """The parts of this process, step by step, made by worker processes; they live until `close`.

    Args:
        dataset: all patches.
        batches: which of them belong together.
        workers: processes; 0 for none.
        pin_memory: whether to put them where a GPU fetches from fast.
    """

    def __init__(self, dataset: PatchDataset, batches: EpochBatches, workers: int, pin_memory: bool = False) -> None:
        self.batches = batches
        self.steps = len(batches) // batches.parts
        self._loader: DataLoader[Part] | None = DataLoader(
            dataset,
            batch_sampler=batches,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=pin_memory,
            # Otherwise it draws its seeds from the generator of the whole process.
            generator=torch.Generator(),
        )

    def epoch(self, epoch: int, first_step: int = 0) -> Iterator[list[Part]]:
        """The parts of each step of an epoch, from a step on."""
        assert self._loader is not None
        self.batches.order.epoch = epoch
        self.batches.first_step = first_step
        # Ctrl-C and SIGTERM, which may reach every process of a group, are for the one that trains.
        with signals_blocked():
            parts = iter(self._loader)
        for _ in range(first_step, self.steps):
            yield [next(parts) for _ in range(self.batches.parts)]

    def close(self) -> None:
        """End the worker processes."""
        self._loader = None
