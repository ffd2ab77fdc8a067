"""Progress on stderr: bars on a terminal, a line for each step elsewhere, or nothing."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

from ltvs.runtime.errors import printable

#: Steps of a case; each counts as an equal part of it.
STEPS = ("liver", "vessels and tumors", "writing files")

#: Columns of a bar that its longest line takes without the name: of 999 CTs, with three digits of patches.
_BESIDE_NAME = 72
_COLUMNS = (
    SpinnerColumn(),
    TextColumn("{task.description}", markup=False),
    BarColumn(bar_width=8),
    TextColumn("{task.fields[count]}", markup=False),
    TimeRemainingColumn(),
)


class Display:
    """Shows nothing but the lines that it is told to print, and what is waited for."""

    def __init__(self) -> None:
        #: Cases that processes of this command are at, and those of others that were told of.
        self._begun: set[str] = set()
        self._awaited: set[str] = set()

    def say(self, what: str) -> None:
        """Show what is done before the first case."""

    def begin(self, names: Sequence[str]) -> None:
        """Show that the cases are begun."""

    def hear(self, process: int, what: str, name: str, *more: object) -> None:  # noqa: ARG002
        """Show what a process tells.

        Args:
            process: its index.
            what: a case has `begun`, a `step` of it has, it is `settled`, or `waiting` for another process.
            name: of the case.
            more: step, patches done and all; or the outcome and its reason; or why it has to wait.
        """
        if what == "begun":
            self._begun.add(name)
        # Those that this command is at are seen at work.
        if what == "waiting" and name not in self._begun | self._awaited:
            self._awaited.add(name)
            self.tell(printable(f"waiting: {more[0]}"), is_error=True)

    def tell(self, line: str, *, is_error: bool = False) -> None:
        """Print a line that stays."""
        print(line, file=sys.stderr if is_error else sys.stdout, flush=True)


class Lines(Display):
    """Prints a line for every step of a case, for files and pipes."""

    def __init__(self) -> None:
        super().__init__()
        self._numbers: dict[str, int] = {}
        self._shown: dict[str, str] = {}

    def say(self, what: str) -> None:
        """Print what is done before the first case."""
        self.tell(what, is_error=True)

    def begin(self, names: Sequence[str]) -> None:
        """Note the numbers of the cases."""
        self._numbers = {name: number for number, name in enumerate(names, 1)}

    def hear(self, process: int, what: str, name: str, *more: object) -> None:
        """Print a step when it begins, and what became of the case."""
        super().hear(process, what, name, *more)
        place = f"CT {self._numbers[name]} of {len(self._numbers)}, {printable(name)}"
        if what == "settled" and self._shown.get(name) != "":
            self._shown[name] = ""
            self.tell(f"{place}: {more[0]}", is_error=True)
        if what == "step" and self._shown.get(name) != more[0]:
            self._shown[name] = str(more[0])
            patches = f", {more[2]} patches" if more[0] in STEPS[:2] and more[2] else ""
            self.tell(f"{place}: {more[0]}{patches}", is_error=True)


class Bars(Display):
    """Draws a bar of all cases, with the time left, and one for the step of each process."""

    def __init__(self, progress: Progress) -> None:
        super().__init__()
        self._progress = progress
        self._whole = progress.add_task("starting", total=None, count="")
        self._rows: dict[int, TaskID] = {}
        self._numbers: dict[str, int] = {}
        self._parts: dict[str, float] = {}
        self._steps: dict[int, tuple[str, str]] = {}

    def say(self, what: str) -> None:
        """Show what is done before the first case."""
        self._progress.update(self._whole, description=what)

    def begin(self, names: Sequence[str]) -> None:
        """Draw the bar of all cases, empty."""
        self._numbers = {name: number for number, name in enumerate(names, 1)}
        self._progress.reset(self._whole, total=len(names), description="loading the networks", count="")

    def hear(self, process: int, what: str, name: str, *more: object) -> None:
        """Draw what a process tells."""
        super().hear(process, what, name, *more)
        if what == "waiting":
            return
        if what == "settled":
            self._parts[name] = 1.0
            if process in self._rows:
                self._progress.update(self._rows[process], visible=False)
        elif what == "begun":
            self._draw(process, name, "reading", 0, 0)
        elif what == "step":
            step, done, count = str(more[0]), float(str(more[1])), float(str(more[2]))
            part = done / count if count else 0.0
            place = STEPS.index(step) if step in STEPS else 0
            self._parts[name] = (place + part) / len(STEPS)
            self._draw(process, name, step, done, count)
        settled = sum(part == 1.0 for part in self._parts.values())
        of = f"{settled} of {len(self._numbers)} CTs" if len(self._numbers) > 1 else ""
        self._progress.update(self._whole, completed=sum(self._parts.values()), description="all", count=of)

    def tell(self, line: str, *, is_error: bool = False) -> None:
        """Print a line above the bars."""
        self._progress.stop()
        print(line, file=sys.stderr if is_error else sys.stdout, flush=True)
        self._progress.start()

    def _draw(self, process: int, name: str, step: str, done: float, count: float) -> None:
        # What follows the name has to fit on a terminal with 80 columns.
        short = Text(printable(name))
        short.truncate(max(8, self._progress.console.width - _BESIDE_NAME), overflow="ellipsis")
        shown = f"CT {self._numbers[name]} of {len(self._numbers)}: {short}: {step}"
        patches = f"{done:.0f} of {count:.0f} patches" if step in STEPS[:2] and count else ""
        row = self._rows.get(process)
        if row is None:
            row = self._rows[process] = self._progress.add_task(shown, total=count or None, count=patches)
        elif self._steps[process] != (name, step):
            self._progress.reset(row, total=count or None, visible=True)
        self._steps[process] = name, step
        self._progress.update(row, description=shown, completed=done, total=count or None, count=patches)


def on_terminal() -> bool:
    """Return whether the process has a terminal for stderr, wherever stderr leads while a command line is parsed."""
    return sys.__stderr__ is not None and sys.__stderr__.isatty()


@contextmanager
def shown_progress(is_wanted: bool) -> Iterator[Display]:
    """Yield a display: bars on a terminal that can draw, lines elsewhere; one that shows nothing if none is wanted."""
    if not is_wanted:
        yield Display()
        return
    console = Console(stderr=True)
    if not console.is_terminal or console.is_dumb_terminal:
        yield Lines()
        return
    # A CT may take minutes: the time left is estimated from the last hour.
    with Progress(
        *_COLUMNS,
        console=console,
        speed_estimate_period=3600,
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    ) as progress:
        yield Bars(progress)
