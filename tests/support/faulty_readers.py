"""train_ltvs.py whose patches have a fault from the second epoch on: `FAULT=NAME PATIENCE=SECONDS python ...`."""

import os
import sys
from pathlib import Path

if __name__ == "__main__":
    root = Path(__file__).parents[2]
    sys.path[:0] = [str(root / folder) for folder in ("src", "examples", "tests")]
    import torch

    from ltvs.runtime.command_line import run
    from ltvs.training import loader
    from ltvs.training.patches import PatchDataset
    from support.faults import fault
    from train_ltvs import TrainSettings, main

    torch.set_num_threads(1)
    whole = PatchDataset.__getitem__

    def faulty(dataset, key):
        if key[0] == 2:
            fault(os.environ["FAULT"])
        return whole(dataset, key)

    PatchDataset.__getitem__ = faulty
    loader.PATIENCE = float(os.environ["PATIENCE"]), 0.0
    run(main, TrainSettings)
