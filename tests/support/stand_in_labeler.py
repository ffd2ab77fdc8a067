"""A labeler without networks: a "CT" is a text file whose words say what becomes of it."""

import os
import signal
from collections.abc import Iterable, Sequence
from pathlib import Path

from ltvs.prediction.answer import Answer, NetworksError, Progress
from ltvs.prediction.asked import Asked, beside
from ltvs.prediction.found import found_cts
from ltvs.prediction.job import Job
from ltvs.prediction.record import RECORDS, Record
from ltvs.runtime.errors import InputError
from ltvs.runtime.files import write_json
from support.processes import wait_until

NUMBERS = {"liver": 1500.0, "vessel": 40.0, "tumor": 2.5, "tumors": 1}


class StandIn:
    """Labels with the first word of the text.

    `bad` and `mistake` raise, `none` has no liver, `kill` ends the process by SIGKILL in the middle of writing,
    `wait FILE` says that it has begun in FILE.begun and waits for FILE,"""

    def __init__(self, asked: Asked, device: str) -> None:
        self.asked = asked
        self.device = device

    def label(self, ct, labels: Path, progress: Progress) -> Answer:
        word, *more = (ct.place.read_text().split() or [""])[:2]
        progress("liver", 0, 2)
        if word == "bad":
            raise InputError(f"{ct.place}: is bad")
        if word == "mistake":
            raise ZeroDivisionError("a mistake")
        if word == "none":
            return Answer({}, no_liver="finds no liver")
        labels.write_text("half")
        if word == "wait":
            Path(f"{more[0]}.begun").write_text("")
            wait_until(Path(more[0]).exists, "the test does not let it go on")
        if word == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        labels.write_text(f"labels of {ct.place.read_text()}")
        self._write(labels, self.asked.endings())
        return Answer(NUMBERS, ("Look at it.",), (1500.0,))

    def add(self, ct, source: Path, bodies: Sequence[float], labels: Path, endings: Iterable[str]) -> None:
        assert source.read_text() == f"labels of {ct.place.read_text()}"
        assert bodies == (1500.0,)
        self._write(labels, endings)

    def _write(self, labels: Path, endings: Iterable[str]) -> None:
        for ending in endings:
            path, name = beside(labels, ending), beside(labels, "").name
            if ending.endswith("json"):
                write_json(path, {name: {"liver_ml": 1500}})
            elif ending.endswith("csv"):
                path.write_text(f"case,liver_ml\n{name},1500\n")
            else:
                path.write_text(f"{ending} of {name}")


class WithoutNetworks(StandIn):
    """Fails as where the networks cannot be loaded."""

    def label(self, ct, labels: Path, progress: Progress) -> Answer:
        raise NetworksError(f"{self.asked.networks}: no networks here")


def write_cts(folder: Path, **words: str) -> list[Path]:
    """Write a CT for each name; return the files."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in words.items():
        (folder / f"{name}.nii").write_text(text)
    return [folder / f"{name}.nii" for name in words]


def job(inputs: Path, output: Path, *, overwrite: bool = False, networks: str = "n", start=StandIn, **asked) -> Job:
    """Return the job of a command that begins now."""
    with found_cts([inputs]) as findings:
        cts = tuple(findings.cts)
    records = {ct.name: Record.read(output / RECORDS / ct.name) for ct in cts}
    before = {name: (record.attempt, record.outcome) for name, record in records.items() if record}
    return Job(cts, output, Asked(Path("run"), 100.0, **asked), networks, overwrite, before, start)


def outcomes(output: Path) -> dict[str, str]:
    """Return what became of every case on record; a case that a command is about to begin has a folder without one."""
    records = {folder.name: Record.read(folder) for folder in sorted((output / RECORDS).iterdir())}
    return {name: record.outcome for name, record in records.items() if record is not None}


def contents(output: Path) -> dict[str, bytes]:
    """Return all files but the records and the table, which hold times."""
    return {path.name: path.read_bytes() for path in output.glob("*") if path.is_file() and path.name != "cases.csv"}
