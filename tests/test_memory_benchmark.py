"""The table of what saves memory is made of what it says."""

from functools import partial

from benchmarks import memory
from crossattn3d import UCANet

SMALL = (8, 16, 24)


def test_what_saves_memory_does() -> None:
    make = partial(UCANet, 1, memory.CLASSES, (8, 8, 16))
    measured = partial(memory.bytes_per_voxel, size=SMALL)
    plain = measured(make, False, True)
    assert measured(partial(make, use_checkpoint=True), False, True) < 0.8 * plain
    assert measured(make, True, True) < 0.8 * plain
    assert measured(make, False, False) < 0.5 * plain


def test_the_page_has_every_row() -> None:
    page = memory.PAGE.read_text(encoding="utf-8").split(memory.BEGIN)[1].split(memory.END)[0]
    assert [line.split(" | ")[0].removeprefix("| ") for line in page.splitlines()[2:]] == list(memory.ROWS)
