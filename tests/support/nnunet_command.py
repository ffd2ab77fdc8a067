"""One of nnU-Net's commands, run as its script does: `python nnunet_command.py nnUNetv2_train ...`.

With PyTorch for CPU from one place and torchvision for CUDA from another, importing torchvision fails for want of an
operator, and with it the search for trainers, which imports all of nnU-Net's own. None of these calls that operator:
it is declared here if its library cannot be loaded.
"""

import sys
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

import torch


def declare_missing_operators() -> None:
    """Make torchvision importable where its compiled library does not fit PyTorch."""
    library = Path(find_spec("torchvision").origin).parent / "_C.so"
    try:
        torch.ops.load_library(library)
    except OSError:
        for name in ("nms", "qnms"):
            torch.library.define(f"torchvision::{name}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")


if __name__ == "__main__":
    declare_missing_operators()
    name, *sys.argv[1:] = sys.argv[1:]
    (command,) = entry_points(group="console_scripts", name=name)
    sys.exit(command.load()())
