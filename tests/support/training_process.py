"""train_ltvs.py in a separate process, forked with all modules imported, that can kill itself in a system call."""

import os
import signal
import sys
from multiprocessing import get_context
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

#: System calls that write a checkpoint; a kill can leave only the states between two of them.
CALLS = ("fsync", "replace")


def start(
    data: Path,
    output: Path,
    words: str,
    kill_at: int = 0,
    environment: dict[str, str] | None = None,
    interrupt: int = 0,
) -> ForkServerProcess:
    """Start training in a process that leads its own process group.

    Args:
        data: prepared data set.
        output: folder of the run; beside it, `.log` holds its output and `.calls` the number of `CALLS` it made.
        words: further words of the command line.
        kill_at: number of the call among `CALLS` in which the process is killed; 0 for none.
        environment: additional environment variables.
        interrupt: number of a signal that all processes of the group get in the first step; 0 for none.
    """
    flags = ["--data", str(data), "--output", str(output), *words.split()]
    # The server imports the modules below once; each process is a fork of it.
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    try:
        context = get_context("forkserver")
        # And what training imports only when it begins.
        late = ["lightning_fabric", "monai", "torch._dynamo"]
        context.set_forkserver_preload(["support.training_process", "train_ltvs", *late])
        arguments = (flags, output.with_suffix(".log"), kill_at, environment or {}, interrupt)
        process = context.Process(target=_train, args=arguments)
        process.start()
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before
    return process


def run_to_its_end(data: Path, output: Path, words: str, environment: dict[str, str] | None = None) -> None:
    """Train as `start` does, and wait for the end."""
    process = start(data, output, words, environment=environment)
    process.join()
    assert process.exitcode == 0, said(output)


def said(output: Path) -> str:
    """Return the output of all processes of a run."""
    return output.with_suffix(".log").read_text()


def calls(output: Path) -> int:
    """Return how many of `CALLS` the last process of a run has made."""
    return int(output.with_suffix(".calls").read_text())


def results(output: Path) -> dict[str, object]:
    """Return the results of a run, except for dates and paths."""
    folder = output / "stage2"
    board = EventAccumulator(str(folder / "tensorboard"))
    board.Reload()
    scalars = {tag: [(e.step, e.value) for e in board.Scalars(tag)] for tag in board.Tags()["scalars"]}
    names = ("best.safetensors", "last.safetensors", "curves.csv", "result.json")
    return {"tensorboard": scalars, **{name: (folder / name).read_bytes() for name in names}}


def _train(words: list[str], log: Path, kill_at: int, environment: dict[str, str], interrupt: int) -> None:
    os.environ.update(environment)
    import torch

    from ltvs.runtime.command_line import run
    from ltvs.training.step import Learner
    from train_ltvs import TrainSettings, main

    os.setsid()
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
    torch.set_num_threads(1)
    made = 0

    def counted(call):
        def replacement(*args, **named):
            nonlocal made
            made += 1
            log.with_suffix(".calls").write_text(str(made))
            if made == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*args, **named)

        return replacement

    backward = Learner.backward

    def interrupted(*args):
        Learner.backward = backward
        os.killpg(0, interrupt)
        return backward(*args)

    if interrupt:
        Learner.backward = interrupted
    for name in CALLS:
        setattr(os, name, counted(getattr(os, name)))
    sys.argv = ["train_ltvs.py", *words]
    run(main, TrainSettings)
