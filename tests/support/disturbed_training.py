"""train_ltvs.py with a fault in one of its processes: `DISTURBED="RANK STEP FAULT" python ...`.

In step STEP, counted from 1 over all epochs, the fault `kill` ends the process of rank RANK by SIGKILL, `term` sends
it SIGTERM, and `poison` makes its patches infinite. Each process prints the cases of its patches in that step.
"""

import math
import os
import signal
import sys
from itertools import count
from pathlib import Path


def disturb(rank: int, step: int, fault: str) -> None:
    """Patch the training step of this process so that the fault occurs."""
    from ltvs.training.step import Learner

    backward, steps = Learner.backward, count(1)

    def disturbed(learner, parts):
        if next(steps) == step:
            mine = learner.fabric.global_rank
            print(f"rank {mine} has {' '.join(name for part in parts for name in part.case)}", flush=True)
            if mine == rank and fault == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            if mine == rank and fault == "term":
                os.kill(os.getpid(), signal.SIGTERM)
            if mine == rank and fault == "poison":
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
        rank, step, fault = os.environ["DISTURBED"].split()
        disturb(int(rank), int(step), fault)
    run(main, TrainSettings)
