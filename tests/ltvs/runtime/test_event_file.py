"""Curves for TensorBoard: whole as it reads them, however sessions begin and end."""

import os
import re
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ltvs.runtime.errors import InputError
from ltvs.runtime.event_file import EventFile, Point


def read(folder: Path) -> dict[str, list[tuple[float, int, float]]]:
    """The curves as TensorBoard finds them."""
    board = EventAccumulator(str(folder))
    board.Reload()
    return {
        tag: [(event.wall_time, event.step, event.value) for event in board.Scalars(tag)]
        for tag in board.Tags()["scalars"]
    }


def point(step: int) -> Point:
    return Point(step, 1000.0 + step, {"loss": 1 / step, "dice/tumor": step / 100} if step % 2 else {"loss": 1 / step})


def curves(points: list[Point]) -> dict[str, list[tuple[float, int, float]]]:
    found: dict[str, list[tuple[float, int, float]]] = {}
    for one in points:
        for name, value in one.values.items():
            found.setdefault(name, []).append((one.time, one.step, pytest.approx(value, rel=1e-6)))
    return found


@given(sessions=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=5))
def test_sessions_that_each_lose_what_came_last(
    tmp_path_factory: pytest.TempPathFactory, sessions: list[tuple[int, int]]
) -> None:
    """Each adds some epochs and is killed, and some of them were not in a checkpoint; all begin within a second."""
    folder, kept = tmp_path_factory.mktemp("run") / "tensorboard", []
    for added, lost in sessions:
        events = EventFile(folder, kept)
        assert read(folder) == curves(kept)
        new = [point(len(kept) + k) for k in range(1, added + 1)]
        for one in new:
            events.add(one)
        assert read(folder) == curves([*kept, *new])
        kept = [*kept, *new][: max(len(kept), len(kept) + added - lost)]
    EventFile(folder, kept)
    assert read(folder) == curves(kept)
    assert len(list(folder.iterdir())) == 1


def test_a_clock_that_was_set_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    EventFile(tmp_path, []).add(point(1))
    monkeypatch.setattr(time, "time", lambda: 100.0)
    (earlier,) = tmp_path.iterdir()
    events = EventFile(tmp_path, [point(1)])
    events.add(point(2))
    assert events.path.name > earlier.name
    assert read(tmp_path) == curves([point(1), point(2)])


def test_files_of_an_older_version_are_replaced(tmp_path: Path) -> None:
    from torch.utils.tensorboard import SummaryWriter

    for name in ("one", "other"):
        with SummaryWriter(str(tmp_path), purge_step=1, filename_suffix=name) as board:
            board.add_scalar("loss", 7.0, 1)
    EventFile(tmp_path, [point(1)])
    assert read(tmp_path) == curves([point(1)])
    assert len(list(tmp_path.iterdir())) == 1


def test_a_point_that_was_written_in_part_is_left_out(tmp_path: Path) -> None:
    events = EventFile(tmp_path, [point(1)])
    events.add(point(2))
    os.truncate(events.path, events.path.stat().st_size - 1)
    assert read(tmp_path) == curves([point(1)])
    EventFile(tmp_path, [point(1), point(2)])
    assert read(tmp_path) == curves([point(1), point(2)])


def test_killed_before_the_earlier_file_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    EventFile(tmp_path, [point(1)]).add(point(2))
    monkeypatch.setattr(Path, "unlink", killed)
    with pytest.raises(KeyboardInterrupt):
        EventFile(tmp_path, [point(1)])
    assert len(list(tmp_path.iterdir())) == 2
    assert read(tmp_path) == curves([point(1)])


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    events = EventFile(tmp_path, [])
    monkeypatch.setattr(os, "fsync", full)
    name = re.escape(str(events.path))
    with pytest.raises(InputError, match=rf"^{name}: cannot be written \(No space left on device\)$"):
        events.add(point(1))
    with pytest.raises(InputError, match=r"tfevents\.\d+: cannot be written \(No space left on device\)$"):
        EventFile(tmp_path, [])
