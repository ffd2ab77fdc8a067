"""The end of a command that measures: the results shown and written, and the targets that they miss."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ltvs.runtime.files import write_json


def existing_path(text: str) -> Path:
    """Return the path; as an `argparse` type, reject one that does not exist."""
    if not (path := Path(text)).exists():
        raise argparse.ArgumentTypeError(f"{path}: does not exist")
    return path


def at_least_one(text: str) -> int:
    """Return the number; as an `argparse` type, reject one below 1."""
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"expected 1 or more; got {number}")
    return number


def finish(report: dict[str, Any], text: str, missed: Sequence[str], path: Path | None) -> int:
    """Print the results, write them to `path` if there is one, and name the missed targets; return the exit status."""
    print(text)
    if path is not None:
        write_json(path, report)
    for target in missed:
        print(f"missed: {target}", file=sys.stderr)
    return 1 if missed else 0
