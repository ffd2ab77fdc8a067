"""Measure the time of one patch in each stage, next to MONAI.

The command compares RegionalNet with convolutions in C++, RegionalNet with those of oneDNN alone, and MONAI's BasicUNet
of the same widths. All run in float32, in one process, in turns. Weights are random. The input is 0 outside a cylinder
that fills as much of the patch as a body does in stage 1 and a liver in stage 2, and only the logits inside are
wanted. Each row shows the shortest times.
"""

import argparse
import time
from collections.abc import Callable
from unittest import mock

import numpy as np
import torch
from monai.networks.nets import BasicUNet

from benchmarks.prediction.work import Size
from benchmarks.reports import at_least_one
from crossattn3d import UCANet, UNet3d
from crossattn3d.folding import fold_batch_norm
from crossattn3d.kernels.cpp import convolution
from crossattn3d.regional import RegionalNet

#: Share of a patch that is not 0.
FILLED = {"stage 1": 0.5, "stage 2": 0.15}
SIZE = Size()


def calls_of(stage: str) -> list[Callable[[], object]]:
    """Return calls that compute a patch: with C++, with oneDNN, and MONAI's."""
    torch.manual_seed(0)
    net = UNet3d(1, 2, SIZE.channels) if stage == "stage 1" else UCANet(1, 3, SIZE.channels)
    net = fold_batch_norm(net.to(memory_format=torch.channels_last_3d).eval())
    monai = BasicUNet(3, 1, net.head.out_channels, SIZE.features, norm="batch").eval()
    y, x = np.mgrid[-1 : 1 : SIZE.patch[1] * 1j, -1 : 1 : SIZE.patch[2] * 1j]
    filled = np.broadcast_to(x**2 + y**2 < 4 / np.pi * FILLED[stage], SIZE.patch)
    patch = torch.randn(1, 1, *SIZE.patch) * torch.from_numpy(filled.copy())
    # One each: a net fills its whole map anew where roundings differ from the last call's.
    in_cpp, direct = RegionalNet(net), RegionalNet(net)

    def directly() -> object:
        with mock.patch.object(convolution, "is_wanted", return_value=False):
            return list(direct(patch, filled))

    return [lambda: list(in_cpp(patch, filled)), directly, lambda: monai(patch)]


@torch.inference_mode()
def measured(calls: list[Callable[[], object]], rounds: int) -> list[float]:
    """Return the shortest seconds of each call, after one that does not count."""
    seconds = []
    for _ in range(rounds + 1):
        for call in calls:
            start = time.perf_counter()
            call()
            seconds.append(time.perf_counter() - start)
    return [min(seconds[k + len(calls) :: len(calls)]) for k in range(len(calls))]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.prediction.patches", description=__doc__)
    parser.add_argument("--rounds", type=at_least_one, default=5, help="calls of each kind (default: 5)")
    rounds = parser.parse_args().rounds
    rows = {stage: measured(calls_of(stage), rounds) for stage in FILLED}
    rows["both"] = [sum(pair) for pair in zip(*rows.values(), strict=True)]
    print("| float32, seconds | C++ | oneDNN | MONAI | C++ / MONAI | oneDNN / MONAI |\n|---|--:|--:|--:|--:|--:|")
    for name, (ours, direct, monai) in rows.items():
        print(f"| {name} | {ours:.2f} | {direct:.2f} | {monai:.2f} | {ours / monai:.2f} | {direct / monai:.2f} |")


if __name__ == "__main__":
    main()
