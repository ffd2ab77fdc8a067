"""Measure the memory that a training step keeps for its backward pass, with each option that reduces it.

`python -m benchmarks.memory` writes the table of docs/code/small-gpus.md.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from benchmarks import DOCS, pages
from benchmarks.time_and_memory import allocations
from crossattn3d import UCANet, UNet3d

PAGE = DOCS / "code" / "small-gpus.md"
MAKER = "benchmarks.memory"
SIZE, PAPER = (16, 80, 80), (32, 320, 320)
CLASSES = 3

_light = partial(UCANet, 1, CLASSES, use_checkpoint=True)
#: Name: (network, whether in bfloat16).
ROWS: dict[str, tuple[Callable[[], nn.Module], bool]] = {
    "`UNet3d(1, 3)`": (partial(UNet3d, 1, CLASSES), False),
    "`UCANet(1, 3)`": (partial(UCANet, 1, CLASSES), False),
    "in bfloat16": (partial(UCANet, 1, CLASSES), True),
    "with `use_checkpoint=True`": (_light, False),
    "both": (_light, True),
    "both, half as wide (16 / 32 / 64 / 128)": (partial(_light, channels=(16, 32, 64, 128)), True),
}


def bytes_per_voxel(make: Callable[[], nn.Module], half: bool, size: tuple[int, int, int] = SIZE) -> float:
    """Return by how many bytes per voxel the memory kept for the backward pass grows with the patch.

    Measured from a patch to one of twice its depth, so that what does not grow, such as weights in bfloat16, does not
    count.

    Args:
        make: returns the network.
        half: whether to compute in bfloat16.
        size: of the smaller patch, (d, h, w).
    """
    d, h, w = size
    net = make().to(memory_format=torch.channels_last_3d).train()  # type: ignore[call-overload]
    return (kept(net, half, (2 * d, h, w)) - kept(net, half, size)) / (d * h * w)


def kept(net: nn.Module, half: bool, size: tuple[int, int, int]) -> int:
    """Return the bytes that the forward pass of a batch of one allocates and leaves, without the logits."""
    x = torch.randn(1, 1, *size).contiguous(memory_format=torch.channels_last_3d)

    def forward() -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            return net(x)  # type: ignore[no-any-return]

    forward()
    sizes, logits = allocations(forward)
    return int(sum(sizes) - logits.nbytes)


def table() -> str:
    """Return the rows as Markdown."""
    voxels = torch.Size(PAPER).numel()
    found = {name: bytes_per_voxel(*row) for name, row in ROWS.items()}
    rows = [[name, f"{size:.0f}", f"{size * voxels / 2**30:.1f}"] for name, size in found.items()]
    return pages.table(["", "bytes per voxel", "GiB at 32x320x320, a batch of one"], rows)


def main() -> None:
    pages.take_no_options(MAKER, __doc__)
    pages.write(PAGE, MAKER, table())


if __name__ == "__main__":
    main()
