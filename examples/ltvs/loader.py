"""Batches of patches from worker processes: from any step of any epoch on, and this device's share of each."""

from collections.abc import Iterator
from typing import cast

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate

from ltvs.errors import InputError
from ltvs.patches import PatchDataset, Sample

#: What identifies a sample: epoch and index.
Key = tuple[int, int]


class EpochBatches(Sampler[list[Key]]):
    """The keys of each batch of one epoch, in an order that seed and epoch alone decide.

    Every batch is full: the last one is filled up with the first patches of the epoch, at random anew, so that no
    step and no device gets less than the others. Each of `world` devices gets an equal share of every batch, so that
    what all of them see in a step does not depend on how many there are.

    Args:
        length: patches in an epoch.
        batch_size: patches in a step, over all devices.
        seed: of the order.
        rank: number of this device, from 0.
        world: number of devices.

    Raises:
        InputError: the batch cannot be shared evenly, or there are no patches.
    """

    def __init__(self, length: int, batch_size: int, seed: int, rank: int = 0, world: int = 1) -> None:
        if length < 1:
            raise InputError("no patches to train on; the split has no training cases")
        if batch_size % world:
            raise InputError(
                f"--batch-size: expected a multiple of {world}, the number of devices that share it; got {batch_size}"
            )
        self.length = length
        self.batch_size = batch_size
        self.seed = seed
        self.rank = rank
        self.world = world
        self.epoch = 0
        self.first = 0

    def __len__(self) -> int:
        """Steps of a whole epoch."""
        return -(-self.length // self.batch_size)

    def begin(self, epoch: int, step: int = 0) -> None:
        """Let the next iteration be over `epoch`, without its first `step` batches.

        Raises:
            ValueError: the epoch has fewer.
        """
        if not 0 <= step <= len(self):
            raise ValueError(f"EpochBatches.begin: expected a step of 0 to {len(self)}; got {step}")
        self.epoch, self.first = epoch, step

    def __iter__(self) -> Iterator[list[Key]]:
        order = np.random.default_rng((self.seed, self.epoch)).permutation(self.length)
        filled = np.arange(len(self) * self.batch_size)
        indices = order[filled % self.length] + filled // self.length * self.length
        for batch in indices.reshape(len(self), self.batch_size)[self.first :, self.rank :: self.world]:
            yield [(self.epoch, int(index)) for index in batch]


class PatchLoader:
    """Batches of a `PatchDataset`, read, cut and turned by worker processes ahead of their use.

    Args:
        dataset: of the patches.
        batch_size: patches in a step, over all devices.
        seed: of the order.
        workers: processes; 0 does it in this one.
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
        rank: int = 0,
        world: int = 1,
        pin_memory: bool = False,
    ) -> None:
        self.batches = EpochBatches(len(dataset), batch_size, seed, rank, world)
        self.workers = workers
        self._loader: DataLoader[Sample | InputError] = DataLoader(
            _Caught(dataset),
            batch_sampler=self.batches,
            num_workers=workers,
            collate_fn=_together,
            pin_memory=pin_memory,
            persistent_workers=workers > 0,
            # For the workers' seeds, which nothing uses; PyTorch's own generator stays as training left it.
            generator=torch.Generator(),
        )

    def __len__(self) -> int:
        """Steps of a whole epoch."""
        return len(self.batches)

    def epoch(self, number: int, step: int = 0) -> Iterator[Sample]:
        """The batches of an epoch, from `step` on: `image` (b, 1, d, h, w), `target` likewise, `case` a list of names.

        Which they are, and all that is random about them, follows from the seed, `number` and the step alone.

        Raises:
            InputError: a prepared case is missing or damaged, or a worker process has ended.
        """
        self.batches.begin(number, step)
        try:
            for batch in self._loader:
                if isinstance(batch, InputError):
                    raise batch
                yield batch
        except RuntimeError as error:
            reason = str(error).splitlines()[0]
            if not reason.startswith("DataLoader worker"):
                raise
            raise InputError(
                f"a process that reads patches was ended, perhaps for want of memory ({reason.rstrip('. ')}); "
                f"give fewer --workers than {self.workers}, or 0"
            ) from error


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
