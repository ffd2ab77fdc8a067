"""The cases that processes share, the paths of their files, and which existing files may be replaced."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ltvs.prediction.answer import Labeler
from ltvs.prediction.asked import Asked, beside
from ltvs.prediction.found import FoundCT
from ltvs.prediction.record import RECORDS, Outcome, Record
from ltvs.runtime.errors import few


def with_names_of_before(cts: Sequence[FoundCT], output: Path) -> list[FoundCT]:
    """Return CTs under the names that the records in a folder have for them.

    Names depend on what else is given: `ct` alone is `a_ct` beside `b_ct`. A CT that is labeled there would be labeled
    again under another name, and count twice.

    Args:
        cts: in any order.
        output: folder of the files.
    """
    records = {folder.name: Record.read(folder) for folder in (output / RECORDS).glob("*")}
    before = {record.shown: (name, record.made.size) for name, record in records.items() if record and record.made}
    taken = {ct.name.casefold() for ct in cts}
    renamed = []
    for ct in cts:
        name, size = before.get(ct.shown, (ct.name, 0))
        is_free = ct.name not in records and name.casefold() not in taken
        renamed.append(replace(ct, name=name) if is_free and not ct.problem and size == ct.size else ct)
    return sorted(renamed, key=lambda ct: ct.name)


@dataclass(frozen=True)
class Job:
    """The cases that processes share, as each gets them.

    Args:
        cts: to label.
        output: folder of the files.
        asked: what is asked for of every CT.
        networks: digest of the networks.
        overwrite: replace files that were made otherwise, or by others.
        before: the last attempt at each case when the command began, and its outcome, if there was one.
        start: makes what labels on a device.
    """

    cts: tuple[FoundCT, ...]
    output: Path
    asked: Asked
    networks: str
    overwrite: bool
    before: Mapping[str, tuple[str, Outcome]]
    start: Callable[[Asked, str], Labeler]

    def folder(self, ct: FoundCT) -> Path:
        """Return the folder of the record of a case."""
        return self.output / RECORDS / ct.name

    def labels(self, ct: FoundCT) -> Path:
        """Return the label map of a case."""
        return self.output / f"{ct.name}.nii.gz"

    def is_settled(self, ct: FoundCT) -> bool:
        """Return whether this command, in whichever process, is done with a case."""
        record = Record.read(self.folder(ct))
        return record is not None and record.outcome != "begun" and self.is_new(ct, record)

    def is_new(self, ct: FoundCT, record: Record) -> bool:
        """Return whether a record was written after the command began."""
        return (record.attempt, record.outcome) != self.before.get(ct.name)

    def other_files(self, ct: FoundCT, record: Record | None) -> str:
        """Return why the files of a case are not this command's to replace, without reading them; empty if they are."""
        made = record.made if record else None
        own = {**(record.own if record else {})}
        names = {path.name for path in self.files(ct)} | own.keys()
        there = sorted(name for name in names if os.path.lexists(self.output / name))
        if foreign := [name for name in there if name not in own]:
            return f"{few(foreign)} exists already"
        if made is None or not there:
            return ""
        if made.networks != self.networks:
            return "labeled by other networks"
        if changed := self.asked.differing(made.options):
            return f"labeled with other options ({', '.join('--' + name.replace('_', '-') for name in changed)})"
        if not ct.problem and made.size != ct.size:
            return "made from another input"
        return ""

    def files(self, ct: FoundCT) -> list[Path]:
        """Return the files that may be made of a case."""
        labels = self.labels(ct)
        return [labels, *(beside(labels, ending) for ending in self.asked.endings())]
