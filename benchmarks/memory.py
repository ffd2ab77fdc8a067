"""Memory of a training step by what saves it; `python -m benchmarks.memory` writes the table of docs/small-gpus.md."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from benchmarks.speed.measure import peak_extra_memory
from crossattn3d import UCANet, UNet3d

PAGE = Path(__file__).parents[1] / "docs" / "small-gpus.md"
BEGIN, END = "<!-- made by benchmarks.memory -->\n", "<!-- end -->\n"
CPU = torch.device("cpu")
SIZE, PAPER = (16, 80, 80), (32, 320, 320)
CLASSES = 3

#: Name: (network, whether in bfloat16, whether it is trained).
ROWS: dict[str, tuple[Callable[[], nn.Module], bool, bool]] = {
    "`UNet3d(1, 3)`": (lambda: UNet3d(1, CLASSES), False, True),
    "`UCANet(1, 3)`": (lambda: UCANet(1, CLASSES), False, True),
    "in bfloat16": (lambda: UCANet(1, CLASSES), True, True),
    "with `use_checkpoint=True`": (lambda: UCANet(1, CLASSES, use_checkpoint=True), False, True),
    "both": (lambda: UCANet(1, CLASSES, use_checkpoint=True), True, True),
    "both, half as wide (16 / 32 / 64 / 128)": (
        lambda: UCANet(1, CLASSES, (16, 32, 64, 128), use_checkpoint=True),
        True,
        True,
    ),
    "prediction": (lambda: UCANet(1, CLASSES), False, False),
    "prediction in bfloat16": (lambda: UCANet(1, CLASSES), True, False),
}


def bytes_per_voxel(make: Callable[[], nn.Module], half: bool, train: bool, size: tuple[int, int, int] = SIZE) -> float:
    """Tensors that exist at a time in a step with a batch of one, beyond weights, gradients and input.

    Args:
        make: the network.
        half: compute in bfloat16.
        train: forward and backward pass; forward in evaluation otherwise.
        size: of the patch, (d, h, w).
    """
    net = make().to(memory_format=torch.channels_last_3d).train(train)  # type: ignore[call-overload]
    x = torch.randn(1, 1, *size).contiguous(memory_format=torch.channels_last_3d)
    target = torch.randint(CLASSES, (1, *size))

    def step() -> None:
        with torch.set_grad_enabled(train), torch.autocast("cpu", torch.bfloat16, enabled=half):
            logits = net(x)
        if train:
            nn.functional.cross_entropy(logits.float(), target).backward()

    step()  # gradients are there from now on
    return peak_extra_memory(step, CPU) / x.numel()


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
    before, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
    _, after = rest.split(END)
    PAGE.write_text(f"{before}{BEGIN}{table()}{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
