"""Batches depend on seed, epoch and step alone: not on workers, devices, or where an epoch is entered."""

import os
import signal
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ltvs.dataset.layout import PreparedSet
from ltvs.runtime.errors import InputError
from ltvs.training.loader import EpochBatches, PatchLoader
from ltvs.training.patches import PatchDataset, Sampling
from ltvs.training.step import Sample
from support.trained_runs import tiny_set


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> PreparedSet:
    return tiny_set(tmp_path_factory.mktemp("data"))


def dataset(data: PreparedSet, augment: bool = False) -> PatchDataset:
    sampling = Sampling((8, 13, 24), (4, 0, 0), 15.0, 2.0, foreground=0.4, seed=3, augment=augment)
    return PatchDataset(data, 2, ["a", "b"], sampling)


def flat(steps: Iterable[list[Sample]]) -> list[Sample]:
    return [part for step in steps for part in step]


def assert_equal(ones: list[Sample], others: list[Sample]) -> None:
    assert len(ones) == len(others)
    for one, other in zip(ones, others, strict=True):
        assert torch.equal(one.image, other.image)
        assert torch.equal(one.target, other.target)
        assert list(one.case) == list(other.case)


@given(
    length=st.integers(1, 30), world=st.integers(1, 4), parts=st.integers(1, 3), each=st.integers(1, 5),
    epoch=st.integers(0, 9),
)  # fmt: skip
def test_every_epoch_has_every_patch_and_full_batches(
    length: int, world: int, parts: int, each: int, epoch: int
) -> None:
    size = world * parts * each
    alone = EpochBatches(length, size, seed=7)
    alone.begin(epoch)
    batches = list(alone)
    assert len(batches) == len(alone) == alone.steps == -(-length // size)
    assert {len(batch) for batch in batches} == {size}
    keys = [key for batch in batches for key in batch]
    assert len(set(keys)) == len(keys), "what fills the last batch is at random anew"
    assert {e for e, _ in keys} == {epoch}
    assert sorted(index for _, index in keys[:length]) == list(range(length))
    assert [index % length for _, index in keys[length:]] == [index % length for _, index in keys[: len(keys) - length]]
    # Together the devices get what one gets alone.
    shares = [EpochBatches(length, size, 7, parts, rank, world) for rank in range(world)]
    for share in shares:
        share.begin(epoch)
        assert len(share) == len(batches) * parts
    found = [list(share) for share in shares]
    assert {len(part) for share in found for part in share} == {each}
    for step, whole in enumerate(batches):
        together = [key for share in found for part in share[step * parts : (step + 1) * parts] for key in part]
        assert sorted(together) == sorted(whole)


def test_every_epoch_has_its_own_order() -> None:
    batches = EpochBatches(50, 5, seed=7)
    orders = []
    for epoch in (1, 2, 1):
        batches.begin(epoch)
        orders.append([index for batch in batches for _, index in batch])
    assert orders[0] == orders[2] != orders[1]


@pytest.mark.parametrize("parts", [1, 3])
def test_an_epoch_is_entered_at_any_step(parts: int) -> None:
    batches = EpochBatches(11, 3, seed=7, micro_batches=parts)
    batches.begin(4)
    whole = list(batches)
    for step in range(5):
        batches.begin(4, step)
        assert list(batches) == whole[step * parts :]
    with pytest.raises(ValueError, match="expected a step of 0 to 4; got 5"):
        batches.begin(4, 5)


def test_batches_that_cannot_be_shared() -> None:
    with pytest.raises(InputError, match="expected a multiple of 6, to be shared by 2 devices in 3 parts each; got 4"):
        EpochBatches(9, 4, 0, micro_batches=3, rank=1, world=2)
    with pytest.raises(InputError, match="no patches to train on"):
        EpochBatches(0, 3, 0)


@pytest.mark.parametrize("augment", [False, True])
def test_workers_and_the_step_that_is_entered_at_change_nothing(data: PreparedSet, augment: bool) -> None:
    alone, helped = (PatchLoader(dataset(data, augment), 4, 5, workers, micro_batches=2) for workers in (0, 2))
    whole = list(alone.epoch(1))
    assert len(whole) == alone.steps > 2
    for step in whole:
        assert len(step) == 2
        for part in step:
            assert part.image.shape == part.target.shape == (2, 1, 8, 13, 24)
            assert (part.image.dtype, part.target.dtype) == (torch.float32, torch.uint8)
    next(helped.epoch(1))  # left in the middle
    for step in (2, 0):
        assert_equal(flat(helped.epoch(1, step)), flat(whole[step:]))
    assert not torch.equal(next(alone.epoch(2))[0].image, whole[0][0].image)


def test_two_devices_see_what_one_sees(data: PreparedSet) -> None:
    whole = flat(PatchLoader(dataset(data), 4, 5, 0).epoch(3))
    for rank in (0, 1):
        half = flat(PatchLoader(dataset(data), 4, 5, 0, rank=rank, world=2).epoch(3))
        assert_equal(half, [Sample(x.image[rank::2], x.target[rank::2], x.case[rank::2]) for x in whole])


@pytest.mark.parametrize("augment", [False, True])
def test_no_random_state_is_used_or_changed(data: PreparedSet, augment: bool) -> None:
    results = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        before = torch.get_rng_state(), np.random.get_state()[1].tolist()  # noqa: NPY002
        results.append(flat(PatchLoader(dataset(data, augment), 4, 5, workers=seed - 1).epoch(1)))
        assert torch.equal(torch.get_rng_state(), before[0])
        assert np.random.get_state()[1].tolist() == before[1]  # noqa: NPY002
    assert_equal(*results)


def test_workers_do_not_end_with_the_signals_of_their_group_but_with_the_loader(data: PreparedSet) -> None:
    loader = PatchLoader(dataset(data), 1, 5, 2)
    steps = loader.epoch(1)
    next(steps)
    workers = loader._loader._iterator._workers
    for worker in workers:
        for sent in (signal.SIGINT, signal.SIGTERM):
            os.kill(worker.pid, sent)
    assert len(list(steps)) == loader.steps - 1
    del steps
    loader.close()
    for worker in workers:
        worker.join(30)
        assert not worker.is_alive()


@pytest.mark.parametrize("workers", [0, 2])
def test_a_damaged_case_is_said_in_one_line(tmp_path: Path, workers: int) -> None:
    loader = PatchLoader(dataset(tiny_set(tmp_path)), 4, 5, workers)
    path = tmp_path / "stage2" / "b" / "image.npy"
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(InputError, match=r"stage2/b: .* missing or damaged .*prepare it again") as caught:
        list(loader.epoch(1))
    assert len(str(caught.value).splitlines()) == 1
    processes = loader._loader._iterator._workers if workers else []
    loader.close()
    for process in processes:
        process.join(30)
        assert not process.is_alive(), "the traceback of the error keeps it"


@pytest.mark.parametrize("error", [ConnectionResetError(104, "Connection reset by peer"), EOFError()])
def test_a_worker_that_ends_while_it_hands_over_a_batch(data: PreparedSet, error: Exception) -> None:
    def broken() -> Iterator[None]:
        raise error
        yield

    loader = PatchLoader(dataset(data), 1, 5, 2)
    loader._loader = broken()
    with pytest.raises(
        InputError, match=r"was killed, perhaps because memory ran out \((\[Errno 104\] C|EOFError).*or 0"
    ):
        list(loader.epoch(1))


def test_a_worker_that_is_killed(data: PreparedSet) -> None:
    loader = PatchLoader(dataset(data), 1, 5, 2)
    batches = loader.epoch(1)
    next(batches)
    for worker in loader._loader._iterator._workers:
        os.kill(worker.pid, signal.SIGKILL)
    with pytest.raises(InputError, match=r"was killed, perhaps because memory ran out .*fewer --workers than 2, or 0"):
        list(batches)
