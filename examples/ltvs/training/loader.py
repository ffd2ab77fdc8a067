"""Batches of patches from worker processes, starting at any step of any epoch.

A batch is shared by all devices, and each splits its share into micro-batches that it computes one after the other.
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_all_start_methods
from multiprocessing.process import BaseProcess
from threading import Timer
from types import TracebackType
from typing import Self, cast

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate

from ltvs.runtime.errors import InputError, one_line
from ltvs.runtime.interrupts import signals_blocked
from ltvs.runtime.workers import Failure, attempt, kill, noting_processes
from ltvs.training.patches import PatchDataset, Rendered, RenderedDataset, Sampling
from ltvs.training.stage_training import StageTraining
from ltvs.training.step import Sample

#: Epoch and index, which identify a sample.
Key = tuple[int, int]
#: Patches of prepared cases, or rendered ones.
Patches = PatchDataset | RenderedDataset

#: Seconds to wait for a micro-batch, and for each of its patches, which usually take less than one: else a worker is
#: stuck.
PATIENCE = 180.0, 30.0


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
    """Steps of patches, prefetched by worker processes; a context that ends with them, whatever they are at.

    Args:
        dataset: of the patches.
        batch_size: patches in a step, over all devices and micro-batches.
        seed: of the order.
        workers: processes, which live until the context ends; 0 reads patches in this process.
        micro_batches: of a step on each device.
        rank: number of this device, from 0.
        world: number of devices.
        pin_memory: whether batches are put into pinned memory, from which a GPU copies asynchronously.

    Raises:
        InputError: the batch cannot be shared evenly, or there are no patches; on leaving the context, a worker was
            killed meanwhile.
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
        self._processes: set[BaseProcess] = set()
        self._stuck = False
        self._patience = PATIENCE[0] + PATIENCE[1] * (batch_size // (micro_batches * world))
        remedy = f"{_fewer(workers)}a smaller --patch"
        self._loader: DataLoader[Sample | Failure] | None = DataLoader(
            FailuresAsValues(dataset, remedy),
            batch_sampler=self.batches,
            num_workers=workers,
            collate_fn=CollateOrFailure(remedy),
            pin_memory=pin_memory,
            persistent_workers=workers > 0,
            # Forked workers notice the end of this process; those started by a server would outlive it.
            multiprocessing_context="fork" if workers > 0 and "fork" in get_all_start_methods() else None,
            # For the workers' seeds, which nothing uses; so PyTorch's own generator stays as training left it.
            generator=torch.Generator(),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        # PyTorch raises it wherever this process is when a worker is killed, in a step or a validation, too.
        if isinstance(error, RuntimeError) and str(error).startswith("DataLoader worker"):
            raise self._lost("a process that reads patches was lost", error) from error

    @property
    def steps(self) -> int:
        """The number of steps in a whole epoch."""
        return self.batches.steps

    def epoch(self, number: int, step: int = 0) -> Iterator[list[Sample]]:
        """Yield the micro-batches of each step of an epoch, from `step` on: images (b, 1, d, h, w), targets and names.

        Their content follows from the seed, `number` and the step alone.

        Raises:
            InputError: a patch cannot be made, since a prepared case is missing or damaged, or memory runs out; or a
                worker process has ended, gives nothing, or cannot be started.
        """
        assert self._loader is not None
        self.batches.begin(number, step)
        found = self._started(self._loader)
        for _ in range(step, self.steps):
            micro_batches = [self._next(found) for _ in range(self.batches.micro_batches)]
            for failed in micro_batches:
                if isinstance(failed, Failure):
                    raise InputError(failed.reason)
            yield cast("list[Sample]", micro_batches)

    def close(self) -> None:
        """End the worker processes."""
        # Idle ones end by themselves. Those that the traceback of an error keeps do not, nor do those that are stuck.
        self._loader = None
        with _ends_unnoticed():
            kill(self._processes)
            for process in self._processes:
                process.join()

    def _started(self, loader: "DataLoader[Sample | Failure]") -> Iterator[Sample | Failure]:
        # Ctrl-C and SIGTERM may reach every process of the group; only the one that trains handles them.
        what = "the processes that read patches cannot be started"
        with self._errors(what), signals_blocked(), noting_processes(self._processes):
            return iter(loader)

    def _next(self, found: Iterator[Sample | Failure]) -> Sample | Failure:
        if not self.workers:
            return next(found)
        # Killed when the time is over, since to read from a worker that is stuck may take for ever.
        watch = Timer(self._patience, self._give_up)
        watch.daemon = True
        watch.start()
        try:
            with self._errors("a process that reads patches was lost"):
                return next(found)
        finally:
            watch.cancel()

    def _give_up(self) -> None:
        self._stuck = True
        kill(self._processes)

    @contextmanager
    def _errors(self, what: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            # Those of patches are values, so that these concern the workers.
            raise self._lost(what, error) from error

    def _lost(self, what: str, error: Exception) -> InputError:
        if self._stuck:
            reason = f"the processes that read patches gave none for {self._patience:.0f} seconds, and were ended"
        else:
            reason = f"{what}, perhaps because memory ran out ({one_line(error)[:200].rstrip('. ')})"
        return InputError(f"{reason}; give fewer --workers than {self.workers}, or 0")


@contextmanager
def _ends_unnoticed() -> Iterator[None]:
    """Keep PyTorch from raising an error in this process, wherever it is, for the workers that end meanwhile."""
    number = getattr(signal, "SIGCHLD", None)
    if number is None:
        yield
        return
    before = signal.signal(number, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(number, before)


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


class FailuresAsValues(Dataset["Sample | Failure"]):
    """Samples, or the reason why there is none: an exception of a worker may be one that cannot be handed over."""

    def __init__(self, dataset: Patches, remedy: str) -> None:
        self.dataset, self.remedy = dataset, remedy

    def __getitem__(self, key: Key) -> Sample | Failure:
        return attempt(partial(self.dataset.__getitem__, key), self.remedy)


class CollateOrFailure:
    """Makes a batch of samples, or returns the reason why there is none."""

    def __init__(self, remedy: str) -> None:
        self.remedy = remedy

    def __call__(self, samples: list[Sample | Failure]) -> Sample | Failure:
        """Return the batch, or the first failure."""
        failures = [sample for sample in samples if isinstance(sample, Failure)]
        return failures[0] if failures else attempt(partial(_collate, cast("list[Sample]", samples)), self.remedy)


def _collate(samples: list[Sample]) -> Sample:
    return cast("Sample", default_collate(samples))


def _fewer(workers: int) -> str:
    return f"give fewer --workers than {workers}, or " if workers else "give "
