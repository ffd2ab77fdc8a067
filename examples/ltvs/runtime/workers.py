"""Cases worked on in several processes: what goes wrong with one stops no other, and none outlives its parent."""

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
    """Why a task has no result, in one line."""

    reason: str


_ENDED = Failure("its process was ended, perhaps for want of memory; try --workers 1")


def work_through(
    tasks: Mapping[str, Callable[[], T]], processes: int
) -> Generator[tuple[str, T | Failure], None, None]:
    """Run the tasks, in this process or in several; yield each name with what came out as soon as it is there.

    Where a process is ended, by the system for want of memory or by a fault in a library, every task that was not done
    is tried once more on its own, so that only the one to blame fails. Close the generator to end all of them.
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
    """What the task returns, or the reason why it fails."""
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
    """Yield each name with what came out."""
    threads = max(1, (os.cpu_count() or 1) // processes)
    # Fresh processes: a forked one would inherit ITK's locked thread pool and could hang.
    context = get_context("spawn")
    # Nothing is ever sent: the pipe breaks when this process closes its end or dies, and that ends the others.
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
    """Hand over the tasks, all but those for which it is too late, as a process was ended already."""
    running: dict[Future[T | Failure], str] = {}
    # The processes inherit that Ctrl-C, which a terminal sends to all of them, is not for them but for their parent.
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
    """Share the processor, keep quiet as the parent does, and watch for its end."""
    sitk.ProcessObject.GlobalWarningDisplayOff()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: Connection) -> None:
    """End this process in the middle of what it does; cases are moved into place whole, so that nothing is harmed."""
    try:
        parent.recv()
    except (EOFError, OSError):
        os._exit(1)
