"""Work in several processes: results and reasons, a process that dies, and no process that stays."""

import os
import re
import signal
import subprocess
import sys
from contextlib import closing
from functools import partial
from multiprocessing import active_children
from pathlib import Path

import pytest

from ltvs.runtime import workers
from ltvs.runtime.errors import InputError
from ltvs.runtime.workers import Failure, work_through
from support.faults import fault
from support.processes import wait_until
from support.worker_tasks import (
    ends_the_process,
    not_usable,
    unpicklable,
    with_a_bug,
    write_then_fault,
    write_then_wait,
)

SLOW = """
import pathlib, sys
from functools import partial
from ltvs.runtime.workers import work_through
from support.worker_tasks import write_then_wait
if __name__ == "__main__":
    tasks = {str(k): partial(write_then_wait, pathlib.Path(sys.argv[1]) / str(k)) for k in range(4)}
    list(work_through(tasks, 2))
"""


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("processes", [1, 3])
def test_results_and_reasons(processes: int) -> None:
    tasks = {"two": partial(pow, 2, 1), "none": partial(print, end=""), "bad": not_usable, "bug": with_a_bug}
    results = dict(work_through(tasks, processes))
    assert (results.pop("two"), results.pop("none")) == (2, None)
    assert results.pop("bad") == Failure("liver and CT are of two patients")
    assert results["bug"].reason.startswith("unexpected IndexError: list index out of range (worker_tasks.py, line ")


def test_a_process_that_ends_fails_its_own_task_only() -> None:
    tasks = {"dies": ends_the_process} | {str(k): partial(pow, k, 2) for k in range(6)}
    results = dict(work_through(tasks, 2))
    assert results.pop("dies").reason.startswith(
        "its process was killed, perhaps because memory ran out; try --workers 1"
    )
    assert results == {str(k): k**2 for k in range(6)}


FAULTS = {
    "memory": r"memory ran out \(Unable to allocate 9 TiB\); try fewer --workers",
    "torch memory": r"memory ran out \(.*you tried to allocate 9 bytes\); try fewer --workers",
    "pickle": r"unexpected CannotBePickledError: 1 and 2 \(faults\.py, line \d+\)",
    "exit": r"unexpected SystemExit: 0 \(faults\.py, line \d+\)",
}
ENDS = {
    "os exit 0": "its process was killed, perhaps because memory ran out; try --workers 1",
    "kill": "its process was killed",
    "segv": "its process was killed",
    "stuck": "its process was stuck, and was ended; see whether its files can be read, or try --workers 1",
    "stop": "its process was stuck",
}


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("name", FAULTS)
def test_whatever_a_task_raises_is_a_reason(name: str, processes: int) -> None:
    results = dict(work_through({"two": partial(pow, 2, 1), "bad": partial(fault, name)}, processes))
    assert results.pop("two") == 2
    assert re.fullmatch(FAULTS[name], results["bad"].reason), results


@pytest.mark.skipif(sys.platform != "linux", reason="stops processes")
@pytest.mark.parametrize("name", ENDS)
def test_whatever_a_process_does_all_end(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, begun = workers.wait, tmp_path / "pid"

    def out_of_patience(running: dict[object, str], seconds: float, when: str) -> tuple[set[object], object]:
        """Wait for ever for the good tasks, and no longer than until it is stuck for the bad one."""
        if name not in ("stuck", "stop") or set(running.values()) != {"bad"}:
            return real(running, None, when)
        wait_until(lambda: begun.exists() and begun.read_text(), "the task has not begun")
        return set(), running

    monkeypatch.setattr(workers, "wait", out_of_patience)
    tasks = {"bad": partial(write_then_fault, begun, name), "two": partial(pow, 2, 1), "three": partial(pow, 3, 1)}
    results = dict(work_through(tasks, 2))
    assert results.pop("bad").reason.startswith(ENDS[name])
    assert results == {"two": 2, "three": 3}
    assert not active_children()


def test_a_result_that_cannot_be_handed_over_is_a_reason() -> None:
    results = dict(work_through({"two": partial(pow, 2, 1), "bad": unpicklable}, 2))
    assert results.pop("two") == 2
    assert re.fullmatch(r"unexpected \w+ on the way from its process: .*pickle.*", results["bad"].reason)


def test_processes_that_cannot_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(workers.ProcessPoolExecutor, "submit", full)
    with pytest.raises(InputError, match=r"--workers: the processes cannot be started \(Resource temp.*; give fewer"):
        list(work_through({"two": partial(pow, 2, 1), "three": partial(pow, 3, 1)}, 2))


def test_where_signals_cannot_be_blocked_it_works_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(signal, "pthread_sigmask")
    assert dict(work_through({str(k): partial(pow, k, 2) for k in range(3)}, 2)) == {"0": 0, "1": 1, "2": 4}


@pytest.mark.skipif(sys.platform != "linux", reason="looks at processes in /proc")
def test_closing_ends_what_is_at_work(tmp_path: Path) -> None:
    tasks = {"quick": partial(pow, 2, 1), "slow": partial(write_then_wait, tmp_path / "pid")}
    with closing(work_through(tasks, 2)) as results:
        assert next(results) == ("quick", 2)
        wait_until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text(), "no task has begun")
    assert not is_running(int((tmp_path / "pid").read_text()))


@pytest.mark.skipif(sys.platform != "linux", reason="looks at processes in /proc")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_no_process_outlives_its_parent(tmp_path: Path, how: signal.Signals) -> None:
    script = tmp_path / "slow.py"
    script.write_text(SLOW)
    (tmp_path / "pids").mkdir()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, script, tmp_path / "pids"], env=environment, stderr=subprocess.PIPE
    ) as parent:
        begun = tmp_path / "pids"
        wait_until(lambda: len([path for path in begun.iterdir() if path.read_text()]) == 2, "no two tasks have begun")
        parent.send_signal(how)
        # The tasks wait for ever, so that only being ended ends them.
        parent.wait()
        pids = [int(path.read_text()) for path in begun.iterdir()]
        wait_until(lambda: not any(is_running(pid) for pid in pids), "a process outlives its parent")
    assert len(pids) == 2, "no further task was begun"
