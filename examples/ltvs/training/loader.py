"""Batches of patches from worker processes: from any step of any epoch on, and this device's share of each."""

from collections.abc import Iterator
from typing import cast

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate

from ltvs.runtime.errors import InputError
from ltvs.runtime.interrupts import signals_blocked
from ltvs.training.patches import PatchDataset
from ltvs.training.step import Sample

#: What identifies a sample: epoch and index.
Key = tuple[int, int]


class EpochBatches(Sampler[list[Key]]):
    """The keys that one device gets in each step of one epoch, in an order that seed and epoch alone decide.

    Every batch is full: the last one is filled up with the first patches of the epoch, at random anew, so that no
    step and no device gets less than the others. Each device gets an equal share of every batch, and its share in
    equal parts, so that what a step sees does not depend on how many there are.

    Args:
        length: patches in an epoch.
        batch_size: patches in a step, over all devices and parts.
        seed: of the order.
        parts: in which a device works through its share, one after the other.
        rank: number of this device, from 0.
        world: number of devices.

    Raises:
        InputError: the batch cannot be shared evenly, or there are no patches.
    """

    def __init__(self, length: int, batch_size: int, seed: int, parts: int = 1, rank: int = 0, world: int = 1) -> None:
        if length < 1:
            raise InputError("no patches to train on; the split has no training cases")
        if batch_size % (world * parts):
            raise InputError(
                f"--batch-size: expected a multiple of {world * parts}, to be shared by {world} devices in {parts} "
                f"parts each; got {batch_size}"
            )
        self.length = length
        self.batch_size = batch_size
        self.seed = seed
        self.parts = parts
        self.rank = rank
        self.world = world
        self.steps = -(-length // batch_size)
        self.epoch = 0
        self.first = 0

    def __len__(self) -> int:
        """Parts in a whole epoch."""
        return self.steps * self.parts

    def begin(self, epoch: int, step: int = 0) -> None:
        """Let the next iteration be over `epoch`, without its first `step` steps.

        Raises:
            ValueError: the epoch has fewer.
        """
        if not 0 <= step <= self.steps:
            raise ValueError(f"EpochBatches.begin: expected a step of 0 to {self.steps}; got {step}")
        self.epoch, self.first = epoch, step

    def __iter__(self) -> Iterator[list[Key]]:
        """The keys of each part."""
        order = np.random.default_rng((self.seed, self.epoch)).permutation(self.length)
        filled = np.arange(self.steps * self.batch_size)
        indices = order[filled % self.length] + filled // self.length * self.length
        shares = indices.reshape(self.steps, -1, self.parts, self.world)[self.first :, :, :, self.rank]
        for share in shares:
            for part in share.T:
                yield [(self.epoch, int(index)) for index in part]


class PatchLoader:
    """Steps of a `PatchDataset`, read, cut and turned by worker processes ahead of their use.

    Args:
        dataset: of the patches.
        batch_size: patches in a step, over all devices and parts.
        seed: of the order.
        workers: processes, which live until `close`; 0 does it in this one.
        parts: in which a device works through its share of a step, one after the other.
        rank: number of this device, from 0.
        world: number of devices.
        pin_memory: whether batches are put where a GPU copies from without waiting.

    Raises:
        InputError: the batch cannot be shared evenly, or there are no patches.
    """

    def __init__(
        self,
        dataset: PatchDataset,
        batch_size: int,
        seed: int,
        workers: int,
        *,
        parts: int = 1,
        rank: int = 0,
        world: int = 1,
        pin_memory: bool = False,
    ) -> None:
        self.batches = EpochBatches(len(dataset), batch_size, seed, parts, rank, world)
        self.workers = workers
        self._loader: DataLoader[Sample | InputError] | None = DataLoader(
            _Caught(dataset),
            batch_sampler=self.batches,
            num_workers=workers,
            collate_fn=_together,
            pin_memory=pin_memory,
            persistent_workers=workers > 0,
            # Forked, they see the end of this process; started by a server, PyTorch's workers would outlive it.
            multiprocessing_context="fork" if workers > 0 else None,
            # For the workers' seeds, which nothing uses; PyTorch's own generator stays as training left it.
            generator=torch.Generator(),
        )

    @property
    def steps(self) -> int:
        """Of a whole epoch."""
        return self.batches.steps

    def epoch(self, number: int, step: int = 0) -> Iterator[list[Sample]]:
        """The parts of each step of an epoch, from `step` on; a part has images (b, 1, d, h, w), targets and names.

        What they hold follows from the seed, `number` and the step alone.

        Raises:
            InputError: a prepared case is missing or damaged, or a worker process has ended.
        """
        assert self._loader is not None
        self.batches.begin(number, step)
        try:
            # Ctrl-C and SIGTERM, which may reach every process of a group, are for the one that trains.
            with signals_blocked():
                found = iter(self._loader)
            for _ in range(step, self.steps):
                parts = [next(found) for _ in range(self.batches.parts)]
                for part in parts:
                    if isinstance(part, InputError):
                        raise part
                yield cast("list[Sample]", parts)
        except (RuntimeError, ConnectionError, EOFError) as error:
            # Of a worker that ended while it handed over a batch, the connection tells before PyTorch does.
            reason = (str(error) or type(error).__name__).splitlines()[0]
            if isinstance(error, RuntimeError) and not reason.startswith("DataLoader worker"):
                raise
            raise InputError(
                f"a process that reads patches was ended, perhaps for want of memory ({reason.rstrip('. ')}); "
                f"give fewer --workers than {self.workers}, or 0"
            ) from error

    def close(self) -> None:
        """End the worker processes."""
        self._loader = None


class _Caught(Dataset["Sample | InputError"]):
    """The samples; what is wrong with one is passed on as it is, since a worker's own exception gets a traceback."""

    def __init__(self, dataset: PatchDataset) -> None:
        self.dataset = dataset

    def __getitem__(self, key: Key) -> Sample | InputError:
        try:
            return self.dataset[key]
        except InputError as error:
            return error


def _together(samples: list[Sample | InputError]) -> Sample | InputError:
    """A batch of the samples, or what is wrong with the first that has something."""
    wrong = [sample for sample in samples if isinstance(sample, InputError)]
    return wrong[0] if wrong else cast("Sample", default_collate(samples))
