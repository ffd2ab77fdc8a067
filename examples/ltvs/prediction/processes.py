"""One process for each device here, which all run the loop over the cases. A process that is lost is replaced."""

import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from ltvs.prediction.job import Job
from ltvs.prediction.sharing import Loop
from ltvs.runtime.errors import InputError, one_line
from ltvs.runtime.interrupts import signals_blocked
from ltvs.runtime.workers import kill, start_worker

#: Exit status of a process that wants to be replaced by a new one.
_UNFIT = 3

#: Called with the index of the process, what happens, the case and more.
Hear = Callable[..., None]


@dataclass
class _Child:
    """A process, and the pipe in which it tells what happens: its own, so that its death leaves no lock behind."""

    index: int
    process: BaseProcess
    told: Connection
    has_begun: bool = False


def share_out(job: Job, devices: Sequence[str], hear: Hear, first: int = 0, count: int | None = None) -> None:
    """Settle all cases of a job with one process for each device, and with those that others run.

    Args:
        job: the cases.
        devices: one for each process here.
        hear: called with the index of the process, and what it tells.
        first: index of the first process here among all.
        count: of all processes, here and elsewhere; those here if None.

    Raises:
        InputError: no process can be started, or none can work: the networks cannot be loaded, the disk is full.
    """
    starts = [len(job.cts) * (first + k) // (count or len(devices)) for k in range(len(devices))]
    threads = max(1, (os.cpu_count() or 1) // len(devices))
    # Nothing is ever sent: the pipe breaks when this process closes its end or dies, which ends the others.
    theirs, ours = get_context("spawn").Pipe(duplex=False)
    children: list[_Child] = []

    def start(index: int) -> None:
        children.append(_start(job, devices[index], starts[index], index, threads, theirs))

    try:
        for index in range(len(devices)):
            start(index)
        while children:
            for child in _with_news(children):
                try:
                    what, *more = child.told.recv()
                except (EOFError, OSError):
                    children.remove(child)
                    if _has_to_go_on(child):
                        start(child.index)
                    continue
                if what == "error":
                    raise InputError(more[0])
                child.has_begun |= what == "begun"
                hear(child.index, what, *more)
    finally:
        kill(child.process for child in children)
        for child in children:
            child.process.join()
        ours.close()
        theirs.close()


def _start(job: Job, device: str, first: int, index: int, threads: int, parent: Connection) -> _Child:
    """Start a process.

    Raises:
        InputError: the system starts no more.
    """
    # Fresh processes: a forked one would inherit ITK's locked thread pool and could hang.
    context = get_context("spawn")
    told, telling = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(job, device, first, threads, parent, telling))
    try:
        # A terminal sends Ctrl-C to all processes, but only the parent handles it.
        with signals_blocked({signal.SIGINT}), _threads(threads):
            process.start()
    except OSError as error:
        raise InputError(f"--devices: the processes cannot be started ({error.strerror}); give fewer") from error
    finally:
        telling.close()
    return _Child(index, process, told)


def _with_news(children: Sequence[_Child]) -> list[_Child]:
    ready = wait([child.told for child in children])
    return [child for child in children if child.told in ready]


def _has_to_go_on(child: _Child) -> bool:
    """Return whether a process that has ended leaves work to a new one.

    Raises:
        InputError: it was lost before it began a case, as the next one would be.
    """
    child.process.join()
    child.told.close()
    status = child.process.exitcode
    if status in (0, _UNFIT):
        return status == _UNFIT
    if not child.has_begun:
        raise InputError(
            f"a process ended before it began a case (status {status}); if it says nothing above, it was "
            "killed, perhaps because memory ran out; try fewer --devices"
        )
    return True


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Limit the threads that libraries of a process started meanwhile compute with, unless the user does."""
    name = "OMP_NUM_THREADS"
    if name in os.environ:
        yield
        return
    os.environ[name] = str(count)
    try:
        yield
    finally:
        del os.environ[name]


def _work(job: Job, device: str, first: int, threads: int, parent: Connection, telling: Connection) -> None:
    """Run the loop in a process of its own."""
    start_worker(threads, parent)
    try:
        is_done = Loop(job, device, lambda *what: telling.send(what)).run(first)
    except InputError as error:
        telling.send(("error", one_line(error)))
        is_done = True
    sys.stdout.flush()
    telling.close()
    if not is_done:
        sys.exit(_UNFIT)
