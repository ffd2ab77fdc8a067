"""Measure the most memory that one loader holds, in bytes (Linux only).

The arguments are those of `most_held`, as a JSON list. The command measures the proportional set size of this process
and its workers. This includes mapped files and shared memory, and counts each page once, however many processes share
it.
"""

import argparse
import json
import os
import re
import tempfile
from contextlib import closing
from itertools import islice
from pathlib import Path

import torch

from benchmarks.loader.loaders import loaders
from ltvs.dataset.layout import PreparedSet


def held() -> int:
    """Return the bytes that this process and its children hold now."""
    mine = Path(f"/proc/{os.getpid()}")
    children = [pid for task in mine.glob("task/*/children") for pid in _text(task).split()]
    rollups = [_text(folder / "smaps_rollup") for folder in (mine, *(Path("/proc") / pid for pid in children))]
    return sum(1024 * int(kib) for text in rollups for kib in re.findall(r"^Pss: +(\d+) kB$", text, re.MULTILINE))


def _text(path: Path) -> str:
    """Return what a file of a process or thread says; nothing if that has ended since it was found."""
    try:
        return path.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def most_held(name: str, folder: str, patch: tuple[int, int, int], workers: int, batches: int) -> int:
    """Return the most bytes that the loader of this name holds after any of its first batches."""
    with tempfile.TemporaryDirectory() as cache:
        stream = loaders(PreparedSet(Path(folder)), Path(cache), patch, workers)[name]()
        with closing(stream):
            return max(held() for _ in islice(stream, batches))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.loader.process_memory", description=__doc__)
    parser.add_argument("arguments", type=json.loads)
    name, folder, patch, *numbers = parser.parse_args().arguments
    torch.set_num_threads(1)
    print(most_held(name, folder, tuple(patch), *numbers))


if __name__ == "__main__":
    main()
