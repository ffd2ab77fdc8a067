"""What a training step keeps in memory, by what saves it.

`python -m benchmarks.memory` writes the table of docs/small-gpus.md.
"""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from benchmarks import marks
from crossattn3d import UCANet, UNet3d

PAGE = Path(__file__).parents[1] / "docs" / "small-gpus.md"
MAKER = "benchmarks.memory"
SIZE, PAPER = (16, 80, 80), (32, 320, 320)
CLASSES = 3

#: Name: (network, whether in bfloat16).
ROWS: dict[str, tuple[Callable[[], nn.Module], bool]] = {
    "`UNet3d(1, 3)`": (lambda: UNet3d(1, CLASSES), False),
    "`UCANet(1, 3)`": (lambda: UCANet(1, CLASSES), False),
    "in bfloat16": (lambda: UCANet(1, CLASSES), True),
    "with `use_checkpoint=True`": (lambda: UCANet(1, CLASSES, use_checkpoint=True), False),
    "both": (lambda: UCANet(1, CLASSES, use_checkpoint=True), True),
    "both, half as wide (16 / 32 / 64 / 128)": (
        lambda: UCANet(1, CLASSES, (16, 32, 64, 128), use_checkpoint=True),
        True,
    ),
}


def bytes_per_voxel(make: Callable[[], nn.Module], half: bool, size: tuple[int, int, int] = SIZE) -> float:
    """By how much what is kept for the backward pass grows with the patch.

    From a patch to one of twice its depth, so that what does not grow, as weights in bfloat16, does not count.

    Args:
        make: the network.
        half: compute in bfloat16.
        size: of the smaller patch, (d, h, w).
    """
    d, h, w = size
    net = make().to(memory_format=torch.channels_last_3d).train()  # type: ignore[call-overload]
    return (kept(net, half, (2 * d, h, w)) - kept(net, half, size)) / (d * h * w)


def kept(net: nn.Module, half: bool, size: tuple[int, int, int]) -> int:
    """Bytes that the forward pass of a batch of one allocates and leaves, beyond the logits."""
    x = torch.randn(1, 1, *size).contiguous(memory_format=torch.channels_last_3d)

    def forward() -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            return net(x)  # type: ignore[no-any-return]

    forward()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        logits = forward()
    kineto = recorded.profiler.kineto_results  # type: ignore[union-attr]
    events = sum(event.nbytes() for event in kineto.events() if event.name() == "[memory]")
    return int(events - logits.nbytes)


def table() -> str:
    """The rows as Markdown."""
    voxels = torch.Size(PAPER).numel()
    lines = ["| | bytes per voxel | GiB at 32x320x320, a batch of one |", "| --- | --: | --: |"]
    for name, row in ROWS.items():
        found = bytes_per_voxel(*row)
        lines.append(f"| {name} | {found:.0f} | {found * voxels / 2**30:.1f} |")
    return "\n".join([*lines, ""])


def main() -> None:
    """Measure, and write the table between the marks."""
    marks.write(PAGE, MAKER, table())


if __name__ == "__main__":
    main()
