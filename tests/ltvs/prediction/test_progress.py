"""Progress: bars on a terminal, lines elsewhere, nothing if unasked."""

import io

import pytest
from rich.console import Console

from ltvs.prediction import progress
from ltvs.prediction.progress import Display, shown_progress


def work(display: Display) -> None:
    """Tell what one process tells at two cases, as two do who see that the others are settled."""
    display.say("looking for CTs")
    display.begin(["a", "b [bold]\n"])
    display.hear(0, "begun", "a")
    for done in range(4):
        display.hear(0, "step", "a", "liver", done, 3)
    display.hear(0, "step", "a", "vessels and tumors", 0, 0)
    display.hear(0, "step", "a", "writing files", 0, 1)
    display.hear(0, "settled", "a", "labeled", "")
    display.hear(1, "step", "b [bold]\n", "liver", 1, 4)
    display.tell("a line that stays")
    display.hear(1, "settled", "b [bold]\n", "failed", "is bad")
    display.hear(0, "settled", "b [bold]\n", "failed", "is bad")


def test_what_is_waited_for_is_told_once(capsys: pytest.CaptureFixture) -> None:
    """Of what others are at: that of this command is seen at work."""
    with shown_progress(False) as display:
        display.hear(0, "begun", "a")
        for process in (0, 1):
            display.hear(process, "waiting", "a", "out: another process is at work here")
            display.hear(process, "waiting", "b", "out: another process is at work here")
    assert capsys.readouterr().err == "waiting: out: another process is at work here\n"


def test_nothing_unless_asked(capsys: pytest.CaptureFixture) -> None:
    with shown_progress(False) as display:
        work(display)
    assert capsys.readouterr() == ("a line that stays\n", "")


def test_lines_where_there_is_no_terminal(capsys: pytest.CaptureFixture) -> None:
    with shown_progress(True) as display:
        work(display)
    said = capsys.readouterr()
    assert said.out == "a line that stays\n"
    assert said.err.splitlines() == [
        "looking for CTs",
        "CT 1 of 2, a: liver, 3 patches",
        "CT 1 of 2, a: vessels and tumors",
        "CT 1 of 2, a: writing files",
        "CT 1 of 2, a: labeled",
        r"CT 2 of 2, b [bold]\n: liver, 4 patches",
        r"CT 2 of 2, b [bold]\n: failed",
    ]


def test_lines_on_a_terminal_that_cannot_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "Console", lambda **_: Console(force_terminal=True, _environ={"TERM": "dumb"}))
    with shown_progress(True) as display:
        assert isinstance(display, progress.Lines)


def test_bars_on_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    screen = io.StringIO()
    terminal = Console(file=screen, force_terminal=True, width=140, _environ={"TERM": "xterm"})
    monkeypatch.setattr(progress, "Console", lambda **_: terminal)
    with shown_progress(True) as display:
        assert "starting" in screen.getvalue(), "from the first moment"
        display.begin(["a", "b"])
        display.hear(0, "begun", "a")
        assert "CT 1 of 2: a: reading" in drawn(display)[1]
        display.hear(0, "step", "a", "liver", 1, 4)
        display.hear(1, "step", "b", "vessels and tumors", 3, 6)
        rows = drawn(display)
        assert "0 of 2 CTs" in rows[0]
        assert "CT 1 of 2: a: liver" in rows[1]
        assert "1 of 4 patches" in rows[1]
        assert "CT 2 of 2: b: vessels and tumors" in rows[2]
        assert "3 of 6 patches" in rows[2]
        whole = display._progress.tasks[0]
        # Each of three steps counts alike: a quarter of the first, and the first with half of the second.
        assert whole.completed == pytest.approx(0.25 / 3 + 1.5 / 3)
        display.hear(1, "settled", "b", "labeled", "")
        rows = drawn(display)
        assert "1 of 2 CTs" in rows[0]
        assert len(rows) == 2
    work(display)
    assert "a line that stays" in capsys.readouterr().out


def drawn(display: Display, width: int = 140) -> list[str]:
    """Return the rows that are on the screen now."""
    file = io.StringIO()
    Console(file=file, width=width).print(display._progress.get_renderable())
    return file.getvalue().splitlines()


@pytest.mark.parametrize("name", ["a" * 100, "肝臓" * 25])
def test_a_long_name_hides_neither_step_nor_bar(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    terminal = Console(file=io.StringIO(), force_terminal=True, width=80, _environ={"TERM": "xterm"})
    monkeypatch.setattr(progress, "Console", lambda **_: terminal)
    with shown_progress(True) as display:
        display.begin([*map(str, range(99)), name])
        display.hear(0, "step", name, "vessels and tumors", 123, 345)
        rows = drawn(display, 80)
    assert len(rows) == 2
    assert rows[1].split()[1:5] == ["CT", "100", "of", "100:"]
    assert "…: vessels and tumors" in rows[1]
    assert "━" in rows[1]
    assert "123 of 345 patches" in rows[1]
    assert rows[0].endswith("-:--:--"), "the time left"
