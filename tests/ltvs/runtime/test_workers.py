"""Work in several processes: results and reasons, a process that dies, and no process that stays."""

import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from ltvs.runtime.workers import Failure, work_through
from support.worker_tasks import ends_the_process, not_usable, with_a_bug, write_then_wait

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
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


def wait_until(condition: object, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


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


@pytest.mark.skipif(sys.platform != "linux", reason="looks at processes in /proc")
def test_closing_ends_what_is_at_work(tmp_path: Path) -> None:
    tasks = {"quick": partial(pow, 2, 1), "slow": partial(write_then_wait, tmp_path / "pid")}
    with closing(work_through(tasks, 2)) as results:
        assert next(results) == ("quick", 2)
        wait_until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
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
        wait_until(lambda: len([path for path in (tmp_path / "pids").iterdir() if path.read_text()]) == 2)
        started = time.monotonic()
        parent.send_signal(how)
        parent.wait()
        pids = [int(path.read_text()) for path in (tmp_path / "pids").iterdir()]
        wait_until(lambda: not any(is_running(pid) for pid in pids), seconds=10)
    assert time.monotonic() - started < 10
    assert len(pids) == 2, "no further task was begun"
