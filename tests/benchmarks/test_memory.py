"""The table of what saves memory is made of what it says."""

from functools import partial

from torch import Tensor, nn

from benchmarks import memory
from benchmarks.pages import parts
from crossattn3d import UCANet

SMALL = (8, 16, 24)


def test_what_saves_memory_does() -> None:
    make = partial(UCANet, 1, memory.CLASSES, (8, 8, 16))
    measured = partial(memory.bytes_per_voxel, size=SMALL)
    plain = measured(make, False)
    assert measured(partial(make, use_checkpoint=True), False) < 0.6 * plain
    assert measured(make, True) < 0.8 * plain


def test_what_is_kept_is_counted() -> None:
    """A convolution keeps its input, here made in the forward pass, and its result is not counted."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv3d(1, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(x + 1)

    assert memory.bytes_per_voxel(Net, False, SMALL) == 4


def test_the_page_has_every_row() -> None:
    _, table, _ = parts(memory.PAGE.read_text(encoding="utf-8"), memory.MAKER)
    assert [line.split(" | ")[0].removeprefix("| ") for line in table.splitlines()[2:]] == list(memory.ROWS)
