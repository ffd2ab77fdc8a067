"""Batches depend on seed, epoch and step alone: not on workers, devices, or where an epoch is entered."""

import os
import signal
import sys
from collections.abc import Iterable, Iterator
from multiprocessing import active_children, get_context
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
from support.faults import fault
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
    loader.close()
    for worker in workers:
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
        assert not process.is_alive(), "the traceback of the error keeps it"


@pytest.mark.parametrize("error", [ConnectionResetError(104, "Connection reset by peer"), EOFError()])
def test_a_worker_that_ends_while_it_hands_over_a_batch(data: PreparedSet, error: Exception) -> None:
    def broken() -> Iterator[None]:
        raise error
        yield

    loader = PatchLoader(dataset(data), 1, 5, 2)
    loader._loader = broken()
    with pytest.raises(
        InputError, match=r"was lost, perhaps because memory ran out \((\[Errno 104\] C|EOFError).*or 0"
    ):
        list(loader.epoch(1))


@pytest.mark.filterwarnings("ignore:Exception ignored in. <function _MultiProcessingDataLoaderIter.__del__")
def test_workers_that_cannot_be_started(data: PreparedSet, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first is there when the second cannot be had; no machine is asked to fail, as that may take long."""
    fork, forked = os.fork, []

    def full() -> int:
        if forked:
            raise BlockingIOError(11, "Resource temporarily unavailable")
        forked.append(None)
        return fork()

    monkeypatch.setattr(os, "fork", full)
    with (
        pytest.raises(InputError, match=r"cannot be started, .*\(\[Errno 11\] Resource.*fewer --workers than 2, or 0"),
        PatchLoader(dataset(data), 1, 5, 2) as loader,
    ):
        next(loader.epoch(1))
    assert not active_children()


FEWER = r"; give fewer --workers than 2, or a smaller --patch"
FAULTS = {
    "memory": rf"^memory ran out \(Unable to allocate 9 TiB\){FEWER}$",
    "torch memory": rf"^memory ran out \(.* you tried to allocate 9 bytes\){FEWER}$",
    "pickle": r"^unexpected CannotBePickledError: 1 and 2 \(faults\.py, line \d+\)$",
    "exit": r"^unexpected SystemExit: 0 \(faults\.py, line \d+\)$",
    "os exit 0": r"^a process that reads patches was lost, perhaps because memory ran out \(.*\); give fewer .*, or 0$",
    "kill": r"^a process that reads patches was lost, perhaps",
    "segv": r"^a process that reads patches was lost, perhaps",
    "stop": r"^the processes that read patches gave none for 1 seconds, and were ended; give fewer --w.* than 2, or 0$",
    "stuck": r"^the processes that read patches gave none for 1 seconds, and were ended",
}


@pytest.mark.skipif(sys.platform != "linux", reason="stops processes")
@pytest.mark.parametrize("name", FAULTS)
def test_whatever_befalls_the_workers_is_said_in_one_line_and_none_is_left(
    data: PreparedSet, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error may come while this process is at something else, so all is within the context."""
    monkeypatch.setattr(PatchDataset, "__getitem__", lambda *_: fault(name))
    if name in ("stop", "stuck"):
        monkeypatch.setattr("ltvs.training.loader.PATIENCE", (0.5, 0.5))
    with pytest.raises(InputError, match=FAULTS[name]) as caught, PatchLoader(dataset(data), 1, 5, 2) as loader:
        list(loader.epoch(1))
    assert len(str(caught.value).splitlines()) == 1
    assert not active_children()


@pytest.mark.parametrize("name", ["memory", "exit"])
def test_without_workers_it_is_the_same_line(data: PreparedSet, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PatchDataset, "__getitem__", lambda *_: fault(name))
    with pytest.raises(InputError, match=FAULTS[name].replace("fewer --workers than 2, or ", "")):
        list(PatchLoader(dataset(data), 1, 5, 0).epoch(1))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_batch_that_memory_does_not_suffice_for(
    data: PreparedSet, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: object) -> None:
        raise RuntimeError("unable to allocate memory")

    monkeypatch.setattr("ltvs.training.loader.default_collate", full)
    with (
        pytest.raises(InputError, match=r"^memory ran out \(unable to allocate memory\); give .*a smaller --patch$"),
        PatchLoader(dataset(data), 1, 5, workers) as loader,
    ):
        list(loader.epoch(1))


def test_a_worker_that_is_killed_while_this_process_is_at_something_else(data: PreparedSet) -> None:
    """PyTorch's handler of SIGCHLD raises its error in the middle of a step or a validation."""

    def step(loader: PatchLoader) -> None:
        next(loader.epoch(1))
        raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. ")

    message = r"was lost, perhaps because memory ran out .*fewer --workers than 2, or 0"
    with pytest.raises(InputError, match=message), PatchLoader(dataset(data), 1, 5, 2) as loader:
        step(loader)
    assert not active_children()


def test_an_error_of_this_process_stays_what_it_is_and_ends_the_workers(data: PreparedSet) -> None:
    def fail() -> None:
        with PatchLoader(dataset(data), 1, 5, 2) as loader:
            next(loader.epoch(1))
            raise RuntimeError("size of tensor a must match")

    # The error, whose traceback holds the iterator, is there all the while.
    with pytest.raises(RuntimeError, match="size of tensor") as caught:
        fail()
    assert caught.tb is not None
    assert not active_children()


def test_where_signals_cannot_be_blocked_workers_read_as_well(
    data: PreparedSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = flat(PatchLoader(dataset(data), 4, 5, 0).epoch(1))
    monkeypatch.delattr(signal, "pthread_sigmask")
    with PatchLoader(dataset(data), 4, 5, 1) as loader:
        assert_equal(flat(loader.epoch(1)), whole)


@pytest.mark.slow
def test_where_processes_cannot_be_forked_they_are_spawned(data: PreparedSet, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = flat(PatchLoader(dataset(data), 4, 5, 0).epoch(1))
    monkeypatch.setattr("ltvs.training.loader.get_all_start_methods", lambda: ["spawn"])
    monkeypatch.setattr("multiprocessing.context._default_context._actual_context", get_context("spawn"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path for path in sys.path if path))
    with PatchLoader(dataset(data), 4, 5, 1) as loader:
        assert_equal(flat(loader.epoch(1)), whole)
