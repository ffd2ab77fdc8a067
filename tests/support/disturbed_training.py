"""train_ltvs.py with something happening to one of its processes: `DISTURBED="RANK STEP kill" python ...`.

In that step of the process of that rank, counted from 1 over all epochs, `kill` ends it by SIGKILL, and `poison` makes
its patches infinite. Each process prints the cases that it has in that step.
"""

import math
import os
import signal
import sys
from itertools import count
from pathlib import Path


def disturb(rank: int, step: int, what: str) -> None:
    """Let it happen in what this process trains."""
    from ltvs.training.step import Learner

    backward, steps = Learner.backward, count(1)

    def disturbed(learner, parts):
        if next(steps) == step:
            mine = learner.fabric.global_rank
            print(f"rank {mine} has {' '.join(name for part in parts for name in part.case)}", flush=True)
            if mine == rank and what == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            if mine == rank and what == "poison":
                parts = [part._replace(image=part.image + math.inf) for part in parts]
        return backward(learner, parts)

    Learner.backward = disturbed


if __name__ == "__main__":
    root = Path(__file__).parents[2]
    sys.path[:0] = [str(root / folder) for folder in ("src", "examples", "tests")]
    import torch

    from ltvs.runtime.command_line import run
    from train_ltvs import TrainSettings, main

    torch.set_num_threads(1)
    if "DISTURBED" in os.environ:
        which, when, what = os.environ["DISTURBED"].split()
        disturb(int(which), int(when), what)
    run(main, TrainSettings)
