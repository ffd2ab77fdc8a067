"""The record kept beside each prepared case: what it was made from, and the digests that tell whether it is whole."""

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ltvs.dataset.arrays import open_case
from ltvs.dataset.digests import digests
from ltvs.dataset.layout import FORMAT
from ltvs.model.stage_view import Preparation
from ltvs.model.stages import STAGES
from ltvs.runtime.errors import InputError
from ltvs.runtime.files import read_json
from ltvs.volume.labels import STRUCTURES


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the content of a prepared case, except for the files it is made from.

    Args:
        source: description of the source, as JSON holds it: `kind`, and `structures` if not all are labeled in it.
        preparation: of each case.
        origin: place that cases come from, for messages; it does not decide their content.
        force: whether CTs are taken that the checks refuse.
    """

    source: dict[str, Any]
    preparation: Preparation
    origin: str
    force: bool = False

    def json(self) -> dict[str, Any]:
        """Return everything but the origin, as it reads back from JSON: with lists instead of tuples."""
        content = {"format": FORMAT, "source": self.source, "preparation": self.preparation.json()}
        # Without the checks a case is made again, as they would say whether it is to be used.
        forced = {"force": True} if self.force else {}
        return dict(json.loads(json.dumps(content | forced)))


@dataclass(frozen=True)
class Record:
    """The record of one prepared case.

    Args:
        recipe: as JSON holds it.
        origin: place that it came from, for messages.
        patient: id of the patient.
        content: digest of the files that it was made from; None if they could not be read.
        ct: digest of the voxels of its CT.
        files: digest of each file of the case, by its path in the data set.
    """

    recipe: dict[str, Any]
    origin: str
    patient: str
    content: str | None
    ct: str
    files: dict[str, str]

    @property
    def preparation(self) -> dict[str, Any]:
        """The preparation of the case, as JSON holds it."""
        return dict(self.recipe["preparation"])

    @property
    def structures(self) -> list[str]:
        """The structures that were labeled in the case."""
        return list(self.recipe["source"].get("structures", STRUCTURES))

    def made_by(self, recipe: Recipe, content: str | None) -> bool:
        """Return whether the recipe would make the same case from files of this content."""
        return content is not None and self.content == content and self.recipe == recipe.json()

    def json(self) -> dict[str, Any]:
        """Return the record as JSON holds it."""
        return asdict(self)


def record_path(output: Path, name: str) -> Path:
    """Return the file of a case's record; its folder is put in place last and removed first."""
    return output / "stage2" / name / "case.json"


def read_records(output: Path, threads: int = 1) -> dict[str, Record]:
    """Return the records of all cases that are whole, by name.

    A case is whole if every file is as it was written, which is read for that, and the arrays of both stages open.

    Args:
        output: folder of the data set.
        threads: number of files read at a time.
    """
    records = _all_records(output)
    there = digests([output / file for record in records.values() for file in record.files], threads)
    return {name: record for name, record in records.items() if _is_whole(output, name, record, there)}


def unusable_records(output: Path, whole: Collection[str]) -> dict[str, Record]:
    """Return the records of all cases that are damaged or were made by a version that wrote other files, by name.

    Args:
        output: folder of the data set.
        whole: names of the cases that are neither.
    """
    return {name: record for name, record in _all_records(output).items() if name not in whole}


def _all_records(output: Path) -> dict[str, Record]:
    names = sorted(path.parent.name for path in output.glob("stage2/*/case.json"))
    return {name: record for name in names if (record := read_record(output, name))}


def read_record(output: Path, name: str) -> Record | None:
    """Return the record of a case; None if it is missing or damaged."""
    try:
        record = Record(**read_json(record_path(output, name)))
    except (InputError, TypeError):
        return None
    return record if isinstance(record.files, dict) else None


def content_digest(output: Path, names: Iterable[str], folders: Collection[str]) -> str:
    """Return a digest that is equal for equal files of some cases, as they were written, wherever the data set is.

    Args:
        output: folder of the data set.
        names: of the cases.
        folders: of the data set, whose files count.
    """
    found: dict[str, Any] = {}
    for name in sorted(set(names)):
        record = read_record(output, name)
        files = record.files.items() if record else ()
        found[name] = {file: digest for file, digest in files if Path(file).parts[0] in folders}
    return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()


def _is_whole(output: Path, name: str, record: Record, there: Mapping[Path, str | None]) -> bool:
    if any(there[output / file] != expected for file, expected in record.files.items()):
        return False
    try:
        for stage in STAGES:
            open_case(output / f"stage{stage}" / name, stage)
    except InputError:
        return False
    return True
