"""Cases shared out to processes: each is done once, and one that is lost costs its case alone."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ltvs.prediction.processes import share_out
from ltvs.prediction.record import RECORDS, Record
from ltvs.prediction.sharing import LOST
from ltvs.runtime.errors import InputError
from support import label_stand_ins
from support.processes import processes_of, wait_until, wait_until_all_are_gone
from support.stand_in_labeler import WithoutNetworks, contents, job, outcomes, write_cts

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals and sessions of POSIX")


def share(given, processes: int) -> list[tuple]:
    """Settle all cases; return what was heard."""
    heard: list[tuple] = []
    share_out(given, ["cpu"] * processes, lambda *what: heard.append(what))
    return heard


def test_two_processes_share_the_cases(tmp_path: Path) -> None:
    """Each is at a case that waits for the other one to begin."""
    a, b = tmp_path / "a", tmp_path / "b"
    write_cts(tmp_path / "in", p=f"wait {a}", q="", r="", s=f"wait {b}", t="none", u="bad")
    heard = []

    def hear(process: int, what: str, name: str, *more: object) -> None:
        heard.append((process, what, name))
        begun = {one[2]: one[0] for one in heard if one[1] == "begun"}
        if {"p", "s"} <= begun.keys():
            assert begun["p"] != begun["s"]
            a.touch()
            b.touch()

    share_out(job(tmp_path / "in", tmp_path / "out"), ["cpu", "cpu"], hear)
    expected = {"p": "labeled", "q": "labeled", "r": "labeled", "s": "labeled", "t": "no liver", "u": "failed"}
    assert outcomes(tmp_path / "out") == expected
    assert sorted(name for _, what, name in heard if what == "begun") == list("pqrstu")
    share(job(tmp_path / "in", tmp_path / "alone"), 1)
    assert contents(tmp_path / "alone") == contents(tmp_path / "out")


@pytest.mark.parametrize("processes", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_a_killed_process_costs_its_case_alone(tmp_path: Path, processes: int) -> None:
    write_cts(tmp_path / "in", a="", b="kill", c="mistake", d="", e="kill", f="")
    share(job(tmp_path / "in", tmp_path / "out"), processes)
    expected = {"a": "labeled", "b": "failed", "c": "failed", "d": "labeled", "e": "failed", "f": "labeled"}
    assert outcomes(tmp_path / "out") == expected
    assert Record.read(tmp_path / "out" / RECORDS / "b").reason == LOST
    assert {name[0] for name in contents(tmp_path / "out")} == set("adf"), "no half files"
    assert not list((tmp_path / "out" / RECORDS).rglob(".writing-*"))


@pytest.mark.slow
def test_networks_that_cannot_be_loaded(tmp_path: Path) -> None:
    write_cts(tmp_path / "in", a="", b="")
    with pytest.raises(InputError, match="run: no networks here"):
        share(job(tmp_path / "in", tmp_path / "out", start=WithoutNetworks), 2)


@pytest.mark.slow
def test_a_process_that_ends_before_its_first_case(tmp_path: Path) -> None:
    write_cts(tmp_path / "in", a="")
    given = job(tmp_path / "in", tmp_path / "out", start=label_stand_ins.cannot_be_unpickled())
    with pytest.raises(InputError, match=r"a process ended before it began a case \(status 1\)"):
        share(given, 1)


def test_processes_that_cannot_be_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def start(*_: object) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr("multiprocessing.context.SpawnProcess.start", start)
    write_cts(tmp_path / "in", a="")
    with pytest.raises(InputError, match=r"--devices: the processes cannot be started .*unavailable.; give fewer"):
        share(job(tmp_path / "in", tmp_path / "out"), 1)


def start(place: Path, processes: int) -> subprocess.Popen[str]:
    """Start a command of its own session."""
    command = [sys.executable, label_stand_ins.__file__, str(place / "in"), str(place / "out"), str(processes)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_a_command_that_is_ended(tmp_path: Path, number: signal.Signals, status: int) -> None:
    """What is done is kept, no process is left, and the same command goes on."""
    gate = tmp_path / "gate"
    write_cts(tmp_path / "in", a="", b=f"wait {gate}")
    running = start(tmp_path, 1)
    wait_until(Path(f"{gate}.begun").exists, "the second case was not begun")
    # Ctrl-C reaches all processes of a terminal; the others are sent to the command alone.
    if number == signal.SIGINT:
        os.killpg(running.pid, number)
    else:
        running.send_signal(number)
    said = running.communicate()
    assert running.returncode == status, said
    assert "Traceback" not in said[1]
    wait_until_all_are_gone(running.pid)
    assert outcomes(tmp_path / "out") == {"a": "labeled", "b": "begun"}
    assert {name[0] for name in contents(tmp_path / "out")} == {"a"}
    gate.touch()
    again = start(tmp_path, 1)
    assert json.loads(again.communicate()[0]) == {"a": "kept from before", "b": "labeled"}
    assert again.returncode == 0
    assert not list((tmp_path / "out" / RECORDS).rglob(".writing-*"))


@pytest.mark.slow
def test_a_child_that_is_killed_from_outside(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    write_cts(tmp_path / "in", a=f"wait {gate}", b="")
    running = start(tmp_path, 1)
    wait_until(Path(f"{gate}.begun").exists, "the first case was not begun")
    for process in processes_of(running.pid):
        if b"spawn_main" in Path(f"/proc/{process}/cmdline").read_bytes():
            os.kill(process, signal.SIGKILL)
    assert json.loads(running.communicate()[0]) == {"a": "failed", "b": "labeled"}
    assert running.returncode == 0
    gate.touch()
    again = start(tmp_path, 1)
    assert json.loads(again.communicate()[0]) == {"a": "labeled", "b": "kept from before"}


@pytest.mark.slow
def test_two_commands_at_once_do_each_case_once(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    write_cts(tmp_path / "in", a=f"wait {gate}", b="", c="kill")
    both = [start(tmp_path, 1)]
    wait_until(Path(f"{gate}.begun").exists, "the first case was not begun")
    both.append(start(tmp_path, 1))
    wait_until(lambda: len(outcomes(tmp_path / "out")) == 3, "the second command does not begin")
    wait_until(lambda: outcomes(tmp_path / "out")["c"] == "failed", "the lost case is not seen")
    gate.touch()
    for one in both:
        assert json.loads(one.communicate()[0]) == {"a": "labeled", "b": "labeled", "c": "failed"}
