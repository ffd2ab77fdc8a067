"""A TensorBoard file of curves that holds everything that was added, whenever the process is killed."""

import io
import os
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

from ltvs.runtime.errors import InputError
from ltvs.runtime.files import atomic_path


@dataclass(frozen=True)
class Point:
    """One point of each curve.

    Args:
        step: its place on the horizontal axis.
        time: when it was measured, seconds since 1970.
        values: of the curves by name.
    """

    step: int
    time: float
    values: Mapping[str, float]


class EventFile:
    """The only file of curves in a folder: begun with the points so far, it replaces the files of earlier sessions.

    TensorBoard reads the files of a folder by name, and each may drop what those before it hold. Several of them would
    lose curves where their clocks disagree or two sessions begin within a second.

    Args:
        folder: created if need be.
        points: of earlier sessions, in order.

    Raises:
        InputError: the folder cannot be written to, or the disk is full.
    """

    def __init__(self, folder: Path, points: Iterable[Point]) -> None:
        old = list(folder.glob("*tfevents*"))
        numbers = [int(found[1]) for file in old if (found := re.search(r"tfevents\.(\d+)", file.name))]
        # By name after all others, so that TensorBoard moves on to it, too, if it is running.
        number = max([int(time.time()), *(number + 1 for number in numbers)])
        self.path = folder / f"events.out.tfevents.{number:010d}"
        begin = Event(step=0, wall_time=time.time(), session_log=SessionLog(status=SessionLog.START))
        content = _records([Event(file_version="brain.Event:2", wall_time=time.time()), begin])
        with atomic_path(self.path) as temporary:
            temporary.write_bytes(content + b"".join(map(_point, points)))
        for file in old:
            file.unlink()

    def add(self, point: Point) -> None:
        """Append a point, and wait until it is on the disk.

        Raises:
            InputError: the file cannot be written, or the disk is full.
        """
        try:
            with self.path.open("ab") as file:
                file.write(_point(point))
                file.flush()
                os.fsync(file)
        except OSError as error:
            raise InputError(f"{self.path}: cannot be written ({error.strerror})") from error


def _point(point: Point) -> bytes:
    values = [Summary.Value(tag=name, simple_value=value) for name, value in point.values.items()]
    return _records([Event(step=point.step, wall_time=point.time, summary=Summary(value=[value])) for value in values])


def _records(events: Iterable[Event]) -> bytes:
    file = io.BytesIO()
    writer = RecordWriter(file)
    for event in events:
        writer.write(event.SerializeToString())
    return file.getvalue()
