"""Tasks run in several processes: the failure of one stops no other, and no process outlives its parent."""

import os
import signal
import threading
import traceback
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TypeVar

import SimpleITK as sitk

from ltvs.runtime.errors import InputError

T = TypeVar("T")


@dataclass(frozen=True)
class Failure:
    """The reason why a task has no result, in one line."""

    reason: str


_ENDED = Failure("its process was killed, perhaps because memory ran out; try --workers 1")


def work_through(
    tasks: Mapping[str, Callable[[], T]], processes: int
) -> Generator[tuple[str, T | Failure], None, None]:
    """Run the tasks, in this process or in several; yield each name with its result as soon as it is available.

    Where a process is killed, by the system because memory ran out or by a fault in a library, every unfinished task is
    tried once more on its own, so that only the one to blame fails. Close the generator to end all processes.
    """
    if processes == 1:
        for name, task in tasks.items():
            yield name, attempt(task)
        return
    unfinished = []
    for name, result in _in_pool(tasks, processes):
        if result is _ENDED:
            unfinished.append(name)
        else:
            yield name, result
    for name in unfinished:
        yield from _in_pool({name: tasks[name]}, 1)


def attempt(task: Callable[[], T]) -> T | Failure:
    """Return the result of a task, or the reason why it fails."""
    try:
        return task()
    except InputError as error:
        return Failure(str(error))
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        reason = " ".join(str(error).split())
        return Failure(
            f"unexpected {type(error).__name__}: {reason} ({Path(where.filename).name}, line {where.lineno})"
        )


def _in_pool(tasks: Mapping[str, Callable[[], T]], processes: int) -> Iterator[tuple[str, T | Failure]]:
    """Yield each name with its result."""
    threads = max(1, (os.cpu_count() or 1) // processes)
    # Fresh processes: a forked one would inherit ITK's locked thread pool and could hang.
    context = get_context("spawn")
    # Nothing is ever sent: the pipe breaks when this process closes its end or dies, which ends the workers.
    theirs, ours = context.Pipe(duplex=False)
    pool = ProcessPoolExecutor(processes, context, _start_worker, (threads, theirs))
    try:
        running = _submit(pool, tasks)
        yield from ((name, _ENDED) for name in tasks.keys() - running.values())
        for future in as_completed(running):
            try:
                yield running[future], future.result()
            except BrokenProcessPool:
                yield running[future], _ENDED
    except BaseException:
        ours.close()
        raise
    finally:
        pool.shutdown(cancel_futures=True)
        ours.close()
        theirs.close()


def _submit(pool: ProcessPoolExecutor, tasks: Mapping[str, Callable[[], T]]) -> "dict[Future[T | Failure], str]":
    """Submit the tasks, except those for which it is too late because a process was killed already."""
    running: dict[Future[T | Failure], str] = {}
    # The workers inherit the blocked signal: a terminal sends Ctrl-C to all of them, but only the parent handles it.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        for name, task in tasks.items():
            running[pool.submit(attempt, task)] = name
    except BrokenProcessPool:
        pass
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return running


def _start_worker(threads: int, parent: Connection) -> None:
    """Limit ITK's threads, silence its warnings as in the parent, and watch for the parent's end."""
    sitk.ProcessObject.GlobalWarningDisplayOff()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: Connection) -> None:
    """End this process with its parent, even in the middle of a task; results are moved into place whole."""
    try:
        parent.recv()
    except (EOFError, OSError):
        os._exit(1)
