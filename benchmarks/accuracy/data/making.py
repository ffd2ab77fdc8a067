"""Cases made side by side, and a line about each."""

import sys
from collections.abc import Callable, Mapping
from contextlib import closing

from ltvs.runtime.workers import Failure, work_through


def make_all(tasks: Mapping[str, Callable[[], int]], workers: int, what: str) -> int:
    """Run the tasks in processes; print how many `what` each made or why it failed; return 2 if one did, else 0."""
    status = 0
    with closing(work_through(tasks, max(1, min(workers, len(tasks))))) as results:
        for name, made in results:
            if isinstance(made, Failure):
                print(f"error: {name}: {made.reason}", file=sys.stderr)
                status = 2
            else:
                print(f"{name}: {made} {what}", flush=True)
    return status
