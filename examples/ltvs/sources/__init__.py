"""Public cohorts, your own cohort and phantoms as cases. May import `phantom`, `model`, `volume` and `runtime`.

A source is a function that lists the cases at a path by name, each with its patient, its files and the function that
loads it. Each cohort has a file named as `--source` names it, with that function first and `load_case` after it. To add
one, copy `lits.py` (a CT and a label map per case) or `ltvs.py` (a folder with a CT and masks per case), and enter it
under `source` and in `_all_cases` in `prepare_ltvs.py`, and in `recipe` if it has no vessels.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ltvs.volume.case import Case


@dataclass(frozen=True)
class Entry:
    """A case that a source offers; nothing is in memory until it is loaded.

    Args:
        load: reads the case; called in a worker process, so that each holds one case at a time.
        patient: id of the person, the same in every source; a split keeps the cases of a patient together.
        files: files and folders whose content decides what is loaded; none for a phantom made from settings alone.
    """

    load: Callable[[], Case]
    patient: str
    files: tuple[Path, ...]


#: The cases of a source by name.
Source = dict[str, Entry]
