"""python -m benchmarks.loader.held NAME FOLDER WORKERS BATCHES D H W: most bytes that one loader holds. Linux only.

Counted is the proportional set size of this process and its workers: what they hold, mapped files and shared memory in
it, each page once, however many share it.
"""

import json
import os
import re
import sys
import tempfile
from contextlib import closing
from itertools import islice
from pathlib import Path

import torch

from benchmarks.loader.streams import streams
from ltvs.dataset.layout import PreparedSet


def held() -> int:
    """Bytes that this process and its children hold now."""
    mine = Path(f"/proc/{os.getpid()}")
    children = [pid for task in mine.glob("task/*/children") for pid in task.read_text().split()]
    found = 0
    for folder in [mine, *(Path("/proc") / pid for pid in children)]:
        match = re.search(r"^Pss: +(\d+) kB$", (folder / "smaps_rollup").read_text(), re.MULTILINE)
        found += int(match[1]) * 1024 if match else 0
    return found


def most_held(name: str, folder: Path, workers: int, batches: int, patch: tuple[int, int, int]) -> int:
    """Bytes that the loader of this name holds after any of so many batches, at most."""
    with tempfile.TemporaryDirectory() as cache:
        stream = streams(PreparedSet(folder), Path(cache), patch, workers)[name]()
        with closing(stream):
            return max(held() for _ in islice(stream, batches))


def main() -> None:
    name, folder, *numbers = sys.argv[1:]
    workers, batches, d, h, w = (int(number) for number in numbers)
    torch.set_num_threads(1)
    print(json.dumps(most_held(name, Path(folder), workers, batches, (d, h, w))))


if __name__ == "__main__":
    main()
