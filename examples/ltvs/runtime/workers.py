"""Tasks run in several processes: the failure of one stops no other, and no process outlives its parent."""

import os
import signal
import threading
import traceback
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import active_children, get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TypeVar

import SimpleITK as sitk

from ltvs.runtime.errors import InputError, one_line, ran_out_of_memory
from ltvs.runtime.interrupts import signals_blocked

T = TypeVar("T")

#: Seconds in which one of the running tasks has to end, which usually take seconds or minutes: else they are stuck.
PATIENCE = 3600.0


@dataclass(frozen=True)
class Failure:
    """The reason why a task has no result, in one line."""

    reason: str


_ENDED = Failure("its process was killed, perhaps because memory ran out; try --workers 1")
_STUCK = Failure("its process was stuck, and was ended; see whether its files can be read, or try --workers 1")


def work_through(
    tasks: Mapping[str, Callable[[], T]], processes: int
) -> Generator[tuple[str, T | Failure], None, None]:
    """Run the tasks, in this process or in several; yield each name with its result as soon as it is available.

    Where a process is killed, by the system because memory ran out or by a fault in a library, or all are stuck, every
    unfinished task is tried once more on its own, so that only the one to blame fails. Close the generator to end all
    processes.
    """
    if processes == 1:
        for name, task in tasks.items():
            yield name, attempt(task)
        return
    unfinished = []
    for name, result in _in_pool(tasks, processes):
        if result is _ENDED or result is _STUCK:
            unfinished.append(name)
        else:
            yield name, result
    for name in unfinished:
        yield from _in_pool({name: tasks[name]}, 1)


def attempt(task: Callable[[], T], remedy: str = "try fewer --workers") -> T | Failure:
    """Return the result of a task, or the reason why it fails, with the remedy where memory ran out."""
    try:
        return task()
    except InputError as error:
        return Failure(str(error))
    # SystemExit, too: handed over to the parent it would end that one without a word.
    except (Exception, SystemExit) as error:
        if ran_out_of_memory(error):
            return Failure(f"memory ran out ({one_line(error)[:120]}); {remedy}")
        where = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{Path(where.filename).name}, line {where.lineno}"
        return Failure(f"unexpected {type(error).__name__}: {' '.join(str(error).split())} ({place})")


@contextmanager
def noting_processes(started: set[BaseProcess]) -> Iterator[None]:
    """Add to a set the processes that this one starts meanwhile."""
    before = set(active_children())
    try:
        yield
    finally:
        started |= set(active_children()) - before


def kill(processes: Iterable[BaseProcess]) -> None:
    """End processes whatever they are at and whichever signals they block."""
    for process in processes:
        process.kill()


def _in_pool(tasks: Mapping[str, Callable[[], T]], processes: int) -> Iterator[tuple[str, T | Failure]]:
    """Yield each name with its result."""
    threads = max(1, (os.cpu_count() or 1) // processes)
    # Fresh processes: a forked one would inherit ITK's locked thread pool and could hang.
    context = get_context("spawn")
    # Nothing is ever sent: the pipe breaks when this process closes its end or dies, which ends the workers.
    theirs, ours = context.Pipe(duplex=False)
    pool = ProcessPoolExecutor(processes, context, start_worker, (threads, theirs))
    workers: set[BaseProcess] = set()
    # Whether a process has ended, is stuck, or may be at work on what nobody waits for.
    broken = True
    try:
        with noting_processes(workers):
            running = _submit(pool, tasks)
        results = [(name, _ENDED) for name in tasks.keys() - running.values()]
        lost = bool(results)
        yield from results
        while running:
            done, _ = wait(running, PATIENCE, FIRST_COMPLETED)
            for future in done or list(running):
                name, result = running.pop(future), _result(future) if done else _STUCK
                lost = lost or result is _ENDED or result is _STUCK
                yield name, result
        broken = lost
    finally:
        if broken:
            kill(workers)
        pool.shutdown(cancel_futures=True)
        ours.close()
        theirs.close()


def _submit(pool: ProcessPoolExecutor, tasks: Mapping[str, Callable[[], T]]) -> "dict[Future[T | Failure], str]":
    """Submit the tasks, except those for which it is too late because a process was killed already.

    Raises:
        InputError: the system starts no more processes.
    """
    running: dict[Future[T | Failure], str] = {}
    try:
        # A terminal sends Ctrl-C to all processes, but only the parent handles it.
        with signals_blocked({signal.SIGINT}):
            for name, task in tasks.items():
                running[pool.submit(attempt, task)] = name
    except BrokenProcessPool:
        pass
    except OSError as error:
        raise InputError(f"--workers: the processes cannot be started ({error.strerror}); give fewer") from error
    return running


def _result(future: "Future[T | Failure]") -> T | Failure:
    try:
        return future.result()
    except BrokenProcessPool:
        return _ENDED
    except Exception as error:
        return Failure(f"unexpected {type(error).__name__} on the way from its process: {one_line(error)}")


def start_worker(threads: int, parent: Connection) -> None:
    """Limit ITK's threads, silence its warnings as in the parent, and watch for the parent's end."""
    # Blocked before, where a system can: the parent handles Ctrl-C.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sitk.ProcessObject.GlobalWarningDisplayOff()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: Connection) -> None:
    """End this process with its parent, even in the middle of a task; results are moved into place whole."""
    try:
        parent.recv()
    except (EOFError, OSError):
        os._exit(1)
