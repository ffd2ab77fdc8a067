"""The loop over all cases that every process runs: it takes each case that is not done and that no other process has.

Processes know of each other by locks and records alone, so they may run on any machines that share the folder. A lock
ends with its process: if a case was begun and is not locked, its process was lost.
"""

import os
import tempfile
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from ltvs.prediction.answer import Labeler, NetworksError
from ltvs.prediction.asked import beside, not_of_these
from ltvs.prediction.found import FoundCT
from ltvs.prediction.job import Job
from ltvs.prediction.record import Made, Outcome, Record, content_digest, file_digest, is_as_made
from ltvs.runtime.errors import InputError, few, reason_without_mistake
from ltvs.runtime.files import TEMPORARY, make_folder, remove_leftovers
from ltvs.runtime.locks import BusyError, locked
from ltvs.runtime.workers import Failure, attempt

#: Seconds between two looks at the cases that other processes hold.
PAUSE = 0.3

LOST = "its process was killed, perhaps because memory ran out; try fewer --devices, or a machine with more memory"
_OUT_OF_MEMORY = "try fewer --devices, or a machine with more memory"
_OVERWRITE = "give another --output, or --overwrite to replace them"

#: Called with what happens: `begun`, `step`, `settled`, and the name of the case first.
Tell = Callable[..., None]
T = TypeVar("T")


class Loop:
    """One process at work on a job.

    Args:
        job: to do its share of.
        device: where the networks run.
        tell: called with what happens.
    """

    def __init__(self, job: Job, device: str, tell: Tell) -> None:
        self.job = job
        self.device = device
        self.tell = tell
        #: Whether a failure may have left this process unfit for more.
        self.unfit = False

    def run(self, first: int = 0) -> bool:
        """Work until all cases are settled; return False if a new process has to go on.

        Args:
            first: index of the case to look at first, so that processes do not all ask for the same.

        Raises:
            InputError: the networks cannot be loaded, or the folder cannot be written to.
        """
        open_cts: Sequence[FoundCT] = [*self.job.cts[first:], *self.job.cts[:first]]
        has_waited = False
        while open_cts:
            busy = {}
            for ct in open_cts:
                try:
                    self._try(ct)
                except BusyError as error:
                    busy[ct] = str(error)
                if self.unfit:
                    return False
            if has_waited and len(busy) == len(open_cts):
                for ct, why in busy.items():
                    self.tell("waiting", ct.name, why)
            if busy:
                time.sleep(PAUSE)
                has_waited = True
            open_cts = list(busy)
        return True

    @cached_property
    def labeler(self) -> Labeler:
        """Return what labels, once it is needed."""
        return self.job.start(self.job.asked, self.device)

    def _try(self, ct: FoundCT) -> None:
        """Settle a case unless it is settled.

        Raises:
            BusyError: another process is at it.
        """
        if not self.job.is_settled(ct):
            # Else the lock would make it, and remove it again while another process asks for it.
            make_folder(self.job.folder(ct))
            with locked(self.job.folder(ct)):
                if not self.job.is_settled(ct):
                    self._settle(ct)
        record = Record.read(self.job.folder(ct))
        if record is not None:
            self.tell("settled", ct.name, record.outcome, record.reason)

    def _settle(self, ct: FoundCT) -> None:
        """Do a case whose lock is held, and write its record."""
        began, folder = time.monotonic(), self.job.folder(ct)
        remove_leftovers(folder)
        old = Record.read(folder)
        if old is not None and old.outcome == "begun" and self.job.is_new(ct, old):
            replace(old, outcome="failed", reason=LOST).write(folder)
            return
        begun = Record(uuid.uuid4().hex, "begun", ct.shown, made=old.made if old else None, own=old.own if old else {})
        begun.write(folder)
        self.tell("begun", ct.name)
        case = _Case(self.job, ct, begun, self)
        told: list[InputError] = []

        def work() -> tuple[Outcome, str]:
            try:
                return case.settle()
            except InputError as error:
                told.append(error)
            except OSError as error:
                told.append(InputError(reason_without_mistake(error)))
            raise told[0]

        result = attempt(work, _OUT_OF_MEMORY)
        if told and isinstance(told[0], NetworksError):
            raise told[0]
        self.unfit = isinstance(result, Failure) and not told
        outcome: Outcome
        outcome, reason = ("failed", result.reason) if isinstance(result, Failure) else result
        seconds = time.monotonic() - began
        replace(case.record, outcome=outcome, reason=case.short(reason), seconds=seconds).write(folder)


class _Case:
    """A case whose lock is held."""

    def __init__(self, job: Job, ct: FoundCT, record: Record, loop: Loop) -> None:
        self.job = job
        self.ct = ct
        self.record = record
        self.loop = loop

    def settle(self) -> tuple[Outcome, str]:
        """Label the CT, or find that this was done; return the outcome and a reason."""
        if self.ct.problem:
            raise InputError(self.ct.problem)
        source = content_digest(self.ct.files)
        made = self.record.made
        if made is not None and self._is_alike(made, source) and self._is_kept(made):
            new = self._add(made, missing) if (missing := self._missing(made)) else []
            return "kept from before", f"added {few(new)}" if new else ""
        self._check_replaceable(source)
        return self._label(source)

    def short(self, reason: str) -> str:
        """Return a reason without the name of the input, which stands beside it."""
        return reason.removeprefix(f"{self.ct.place}: ").replace(str(self.ct.place), self.ct.shown)

    def _is_alike(self, made: Made, source: str) -> bool:
        is_same = (made.source, made.networks) == (source, self.job.networks)
        return is_same and not self.job.asked.differing(made.options)

    def _is_kept(self, made: Made) -> bool:
        """Return whether the labels are there, and whatever else is there of the files, as they were made."""
        output = self.job.output
        there = {name: digest for name, digest in made.files.items() if os.path.lexists(output / name)}
        is_whole = all(is_as_made(output / name, [digest]) for name, digest in there.items())
        return is_whole and self.job.labels(self.ct).name in there

    def _missing(self, made: Made) -> list[str]:
        """Return the endings of files that are asked for now and were not made, or were removed since."""
        labels = self.job.labels(self.ct)
        removed = {name for name in made.files if not os.path.lexists(self.job.output / name)}
        return [
            ending
            for ending in self.job.asked.endings()
            if ending not in made.endings or beside(labels, ending).name in removed
        ]

    def _check_replaceable(self, source: str) -> None:
        """Raise InputError if files are there that are not to be replaced."""
        if self.job.overwrite:
            return
        why = self.job.other_files(self.ct, self.record)
        own, made = self.record.own, self.record.made
        there = [name for name in own if os.path.lexists(self.job.output / name)]
        if not why and made is not None and there and made.source != source:
            why = "made from another input"
        if not why and (changed := [name for name in there if not is_as_made(self.job.output / name, own[name])]):
            why = f"{few(changed)} was changed since"
        if why:
            raise InputError(f"{why}; {_OVERWRITE}")

    def _label(self, source: str) -> tuple[Outcome, str]:
        """Label the CT, write its files, and remove those of an earlier attempt that are none of it."""
        job, ct = self.job, self.ct
        with tempfile.TemporaryDirectory(prefix=TEMPORARY, dir=job.folder(ct)) as folder:
            labels = Path(folder) / job.labels(ct).name
            answer = self._told(lambda: self.loop.labeler.label(ct, labels, self._progress), folder)
            if answer.no_liver:
                self._remove(self.record.own)
                self.record = replace(self.record, made=None, own={})
                return "no liver", answer.no_liver
            made = Made(
                source=source,
                size=sum(file.stat().st_size for file in ct.files),
                networks=job.networks,
                options=job.asked.of_labels(),
                endings=job.asked.endings(),
                bodies=answer.bodies,
                numbers=answer.numbers,
                doubts=answer.doubts,
            )
            self._move(Path(folder), made)
        return "labeled", not_of_these(job.labels(ct), job.asked)

    def _add(self, made: Made, endings: Sequence[str]) -> list[str]:
        """Write files beside labels that are there; return their names."""
        job, ct = self.job, self.ct
        new = {beside(job.labels(ct), ending).name for ending in endings}
        if not job.overwrite and (there := [name for name in sorted(new) if os.path.lexists(job.output / name)]):
            raise InputError(f"{few(there)} exists already; {_OVERWRITE}")
        with tempfile.TemporaryDirectory(prefix=TEMPORARY, dir=job.folder(ct)) as folder:
            labels = Path(folder) / job.labels(ct).name
            self._told(lambda: self.loop.labeler.add(ct, job.labels(ct), made.bodies, labels, endings), folder)
            written = sorted(path.name for path in Path(folder).iterdir())
            self._move(Path(folder), replace(made, endings=tuple(dict.fromkeys((*made.endings, *endings)))), made.files)
        return written

    def _told(self, task: Callable[[], T], folder: str) -> T:
        """Return what a task returns; errors that name files in its folder name the final ones instead."""
        try:
            return task()
        except InputError as error:
            raise type(error)(str(error).replace(folder, str(self.job.output))) from error

    def _move(self, folder: Path, made: Made, kept: Mapping[str, str] | None = None) -> None:
        """Move files to their place, once the record knows them: after a kill in between, they are still ours."""
        written = {file.name: file_digest(file) for file in sorted(folder.iterdir())}
        made = replace(made, files={**(kept or {}), **written})
        own = {name: tuple(digests)[-1:] for name, digests in self.record.own.items()}
        known = {name: (*own.get(name, ()), digest) for name, digest in written.items()}
        self.record = replace(self.record, made=made, own={**own, **known})
        self.record.write(self.job.folder(self.ct))
        for name in written:
            target = self.job.output / name
            if target.is_dir() and not target.is_symlink():
                raise InputError(f"{target}: is a folder, expected the name of a file; give another --output")
            (folder / name).replace(target)
        self._remove(name for name in self.record.own if name not in made.files)
        self.record = replace(self.record, own={name: (digest,) for name, digest in made.files.items()})

    def _remove(self, names: Iterable[str]) -> None:
        """Remove files that this command has written before, unless somebody changed them."""
        for name in names:
            if is_as_made(self.job.output / name, self.record.own[name]):
                (self.job.output / name).unlink()

    def _progress(self, step: str, done: int, count: int) -> None:
        self.loop.tell("step", self.ct.name, step, done, count)
