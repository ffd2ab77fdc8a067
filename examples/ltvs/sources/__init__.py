"""Public cohorts, and one's own, as cases. May import `phantom`, `model`, `volume` and `runtime`.

A source lists its cases by name, each with its patient, its files and what loads it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ltvs.volume.case import Case


@dataclass(frozen=True)
class Entry:
    """One case that a source offers; nothing of it is in memory until it is loaded.

    Args:
        load: reads the case; called in a worker process, so that one case is in memory at a time.
        patient: cases of one patient stay in one part of a split; one person has one id, whatever the source.
        files: files and folders whose content decides what is loaded; none for what is made from settings alone.
    """

    load: Callable[[], Case]
    patient: str
    files: tuple[Path, ...]


#: The cases of a source by their names.
Source = dict[str, Entry]
