"""train_ltvs.py in a process of its own that starts at once, and that can kill itself in a system call."""

import os
import signal
import sys
from multiprocessing import get_context
from multiprocessing.context import ForkServerProcess
from pathlib import Path

#: System calls of a checkpoint write; what is between two of them is what a kill can leave.
CALLS = ("fsync", "replace")


def start(words: list[str], log: Path, kill_at: int = 0) -> ForkServerProcess:
    """Start training; the process is the leader of a group of its own.

    Args:
        words: of the command line.
        log: file for what it says; beside it, `.calls`, how many of `CALLS` it made.
        kill_at: which of the `CALLS` it does not come back from; 0 for none.
    """
    # The server imports what it is told to, and each process is a fork of it.
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    try:
        context = get_context("forkserver")
        context.set_forkserver_preload(["training_process", "train_ltvs"])
        process = context.Process(target=_train, args=(words, log, kill_at))
        process.start()
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before
    return process


def _train(words: list[str], log: Path, kill_at: int) -> None:
    import torch

    from ltvs.cli import run
    from train_ltvs import TrainSettings, main

    os.setsid()
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
    torch.set_num_threads(1)
    calls = 0

    def counted(call):
        def replacement(*args, **named):
            nonlocal calls
            calls += 1
            log.with_suffix(".calls").write_text(str(calls))
            if calls == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*args, **named)

        return replacement

    for name in CALLS:
        setattr(os, name, counted(getattr(os, name)))
    sys.argv = ["train_ltvs.py", *words]
    run(main, TrainSettings)
