"""Two tasks started as SLURM would, and the processes that still run, as Linux lists them."""

import os
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path


def slurm_tasks(command: list[str], environment: dict[str, str] | None = None) -> list[subprocess.Popen[str]]:
    """Start one task for each of two nodes, which only the environment variables of SLURM describe."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    tasks = []
    for rank in ("0", "1"):
        slurm = {"NTASKS": "2", "NTASKS_PER_NODE": "1", "NNODES": "2", "PROCID": rank, "LOCALID": "0", "NODEID": rank}
        slurm |= {"NODELIST": "127.0.0.1", "JOB_ID": "77", "JOB_NAME": "train"}
        named = {f"SLURM_{name}": value for name, value in slurm.items()}
        variables = {**os.environ, **named, "MASTER_PORT": port, **(environment or {})}
        tasks.append(
            subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        )
    return tasks


def processes_of(session: int) -> list[int]:
    """Return the ids of the running processes of a session."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, of = path.read_text().rpartition(")")[2].split()[:4]
        except OSError:
            continue
        if int(of) == session and state != "Z":
            found.append(int(path.parent.name))
    return found


def wait_until(condition: Callable[[], object], otherwise: str) -> None:
    """Wait for what comes soon; on a machine that does a lot at once, it may take minutes.

    Raises:
        AssertionError: with the message `otherwise`, as it did not come at all.
    """
    end = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < end, otherwise
        time.sleep(0.05)


def wait_until_all_are_gone(session: int) -> None:
    """Processes close their output, or see that the one they work for was killed, a little before they end."""
    wait_until(lambda: not processes_of(session), "a process outlives the one that it works for")
