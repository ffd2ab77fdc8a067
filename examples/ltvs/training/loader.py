"""Batches of patches from worker processes, starting at any step of any epoch.

A batch is shared by all devices, and each splits its share into micro-batches that it computes one after the other.
"""

from collections.abc import Iterator
from typing import cast

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate

from ltvs.runtime.errors import InputError
from ltvs.runtime.interrupts import signals_blocked
from ltvs.training.patches import PatchDataset, Rendered, RenderedDataset, Sampling
from ltvs.training.stage_training import StageTraining
from ltvs.training.step import Sample

#: Epoch and index, which identify a sample.
Key = tuple[int, int]
#: Patches of prepared cases, or rendered ones.
Patches = PatchDataset | RenderedDataset


class EpochBatches(Sampler[list[Key]]):
    """The keys of each micro-batch of one device in one epoch, in an order that seed and epoch alone decide.

    Every batch is full: the last one is filled up with the first patches of the epoch, with new randomness, so that no
    step and no device gets less than the others. Devices and micro-batches get equal shares of every batch, so that a
    step sees the same patches however many there are.

    Args:
        length: patches in an epoch.
        batch_size: patches in a step, over all devices and micro-batches.
        seed: of the order.
        micro_batches: of a step on each device.
        rank: number of this device, from 0.
        world: number of devices.

    Raises:
        InputError: the batch cannot be shared evenly, or there are no patches.
    """

    def __init__(
        self, length: int, batch_size: int, seed: int, micro_batches: int = 1, rank: int = 0, world: int = 1
    ) -> None:
        if length < 1:
            raise InputError("no patches to train on; the split has no training cases")
        if batch_size % (world * micro_batches):
            raise InputError(
                f"--batch-size: expected a multiple of {world * micro_batches}, to be shared by {world} devices in "
                f"{micro_batches} parts each; got {batch_size}"
            )
        self.length = length
        self.batch_size = batch_size
        self.seed = seed
        self.micro_batches = micro_batches
        self.rank = rank
        self.world = world
        self.steps = -(-length // batch_size)
        self.epoch = 0
        self.first = 0

    def __len__(self) -> int:
        """Return the number of micro-batches in a whole epoch."""
        return self.steps * self.micro_batches

    def begin(self, epoch: int, step: int = 0) -> None:
        """Make the next iteration cover `epoch`, without its first `step` steps.

        Raises:
            ValueError: the epoch has fewer.
        """
        if not 0 <= step <= self.steps:
            raise ValueError(f"EpochBatches.begin: expected a step of 0 to {self.steps}; got {step}")
        self.epoch, self.first = epoch, step

    def __iter__(self) -> Iterator[list[Key]]:
        """Yield the keys of each micro-batch."""
        order = np.random.default_rng((self.seed, self.epoch)).permutation(self.length)
        filled = np.arange(self.steps * self.batch_size)
        drawn = order[filled % self.length] + filled // self.length * self.length
        shares = drawn.reshape(self.steps, -1, self.micro_batches, self.world)[self.first :, :, :, self.rank]
        for share in shares:
            for indices in share.T:
                yield [(self.epoch, int(index)) for index in indices]


class PatchLoader:
    """Steps of patches, prefetched by worker processes.

    Args:
        dataset: of the patches.
        batch_size: patches in a step, over all devices and micro-batches.
        seed: of the order.
        workers: processes, which live until `close`; 0 reads patches in this process.
        micro_batches: of a step on each device.
        rank: number of this device, from 0.
        world: number of devices.
        pin_memory: whether batches are put into pinned memory, from which a GPU copies asynchronously.

    Raises:
        InputError: the batch cannot be shared evenly, or there are no patches.
    """

    def __init__(
        self,
        dataset: Patches,
        batch_size: int,
        seed: int,
        workers: int,
        *,
        micro_batches: int = 1,
        rank: int = 0,
        world: int = 1,
        pin_memory: bool = False,
    ) -> None:
        self.batches = EpochBatches(len(dataset), batch_size, seed, micro_batches, rank, world)
        self.workers = workers
        self._loader: DataLoader[Sample | InputError] | None = DataLoader(
            ErrorsAsValues(dataset),
            batch_sampler=self.batches,
            num_workers=workers,
            collate_fn=collate_or_error,
            pin_memory=pin_memory,
            persistent_workers=workers > 0,
            # Forked workers notice the end of this process; those started by a server would outlive it.
            multiprocessing_context="fork" if workers > 0 else None,
            # For the workers' seeds, which nothing uses; so PyTorch's own generator stays as training left it.
            generator=torch.Generator(),
        )

    @property
    def steps(self) -> int:
        """The number of steps in a whole epoch."""
        return self.batches.steps

    def epoch(self, number: int, step: int = 0) -> Iterator[list[Sample]]:
        """Yield the micro-batches of each step of an epoch, from `step` on: images (b, 1, d, h, w), targets and names.

        Their content follows from the seed, `number` and the step alone.

        Raises:
            InputError: a prepared case is missing or damaged, or a worker process has ended.
        """
        assert self._loader is not None
        found: Iterator[Sample | InputError] | None = None
        self.batches.begin(number, step)
        try:
            # Ctrl-C and SIGTERM may reach every process of the group; only the one that trains handles them.
            with signals_blocked():
                found = iter(self._loader)
            for _ in range(step, self.steps):
                micro_batches = [next(found) for _ in range(self.batches.micro_batches)]
                for error in micro_batches:
                    if isinstance(error, InputError):
                        raise error
                yield cast("list[Sample]", micro_batches)
        except (RuntimeError, ConnectionError, EOFError) as error:
            # Where a worker ended while it handed over a batch, the connection fails before PyTorch notices.
            reason = (str(error) or type(error).__name__).splitlines()[0]
            if isinstance(error, RuntimeError) and not reason.startswith("DataLoader worker"):
                raise
            raise InputError(
                f"a process that reads patches was killed, perhaps because memory ran out ({reason.rstrip('. ')}); "
                f"give fewer --workers than {self.workers}, or 0"
            ) from error
        finally:
            # Otherwise the traceback of an error keeps the workers, which ignore SIGTERM, and the exit waits for them.
            found = None

    def close(self) -> None:
        """End the worker processes."""
        self._loader = None


def make_loader(task: StageTraining) -> PatchLoader:
    """Return the loader of a stage's training cases for this process.

    Raises:
        InputError: the split has no training cases.
    """
    settings, fabric = task.settings, task.fabric
    return PatchLoader(
        _rendered_patches(task) if settings.render else _prepared_patches(task),
        settings.batch_size,
        settings.seed,
        settings.workers,
        micro_batches=settings.accumulate,
        rank=fabric.global_rank,
        world=fabric.world_size,
        pin_memory=fabric.device.type == "cuda",
    )


def _prepared_patches(task: StageTraining) -> PatchDataset:
    data, settings = task.data, task.settings
    if not data.split["train"]:
        raise InputError(f"{data.folder}: the split has no training cases; prepare it again with more cases")
    sampling = Sampling(
        settings.patch,
        settings.overlap,
        settings.rotation,
        settings.jitter,
        settings.foreground,
        settings.seed,
        settings.augment,
    )
    return PatchDataset(data, task.stage, data.split["train"], sampling)


def _rendered_patches(task: StageTraining) -> RenderedDataset:
    settings = task.settings
    rendered = Rendered(settings.patch, settings.render, settings.jitter, settings.seed, settings.fixed)
    # Forked workers cannot use a GPU.
    return RenderedDataset(task.data, task.stage, rendered, None if settings.workers else task.fabric.device)


class ErrorsAsValues(Dataset["Sample | InputError"]):
    """Samples, or the error of one in its place: PyTorch would wrap an exception of a worker in a traceback."""

    def __init__(self, dataset: Patches) -> None:
        self.dataset = dataset

    def __getitem__(self, key: Key) -> Sample | InputError:
        try:
            return self.dataset[key]
        except InputError as error:
            return error


def collate_or_error(samples: list[Sample | InputError]) -> Sample | InputError:
    """Return a batch of the samples, or the first error among them."""
    errors = [sample for sample in samples if isinstance(sample, InputError)]
    return errors[0] if errors else cast("Sample", default_collate(samples))
