"""The record kept beside each prepared case: what it was made from, and the sizes that tell whether it is whole."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ltvs.dataset.arrays import open_case
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
    """

    source: dict[str, Any]
    preparation: Preparation
    origin: str

    def json(self) -> dict[str, Any]:
        """Return everything but the origin, as it reads back from JSON: with lists instead of tuples."""
        content = {"format": FORMAT, "source": self.source, "preparation": self.preparation.json()}
        return dict(json.loads(json.dumps(content)))


@dataclass(frozen=True)
class Record:
    """The record of one prepared case.

    Args:
        recipe: as JSON holds it.
        origin: place that it came from, for messages.
        patient: id of the patient.
        content: digest of the files that it was made from; None if they could not be read.
        ct: digest of the voxels of its CT.
        files: size in bytes of each file of the case, by its path in the data set.
    """

    recipe: dict[str, Any]
    origin: str
    patient: str
    content: str | None
    ct: str
    files: dict[str, int]

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


def read_records(output: Path) -> dict[str, Record]:
    """Return the records of all cases that are whole, by name.

    A case is whole if every file has its recorded size and the arrays of both stages open; contents are not read.
    """
    return {name: record for name, record in _all_records(output).items() if _is_whole(output, name, record)}


def unusable_records(output: Path) -> dict[str, Record]:
    """Return the records of all cases that are damaged or were made by a version that wrote other files, by name."""
    return {name: record for name, record in _all_records(output).items() if not _is_whole(output, name, record)}


def _all_records(output: Path) -> dict[str, Record]:
    found = {path.parent.name: _read(path) for path in sorted(output.glob("stage2/*/case.json"))}
    return {name: record for name, record in found.items() if record}


def _read(path: Path) -> Record | None:
    try:
        return Record(**read_json(path))
    except (InputError, TypeError):
        return None


def _is_whole(output: Path, name: str, record: Record) -> bool:
    try:
        sizes = {file: (output / file).stat().st_size for file in record.files}
        for stage in STAGES:
            open_case(output / f"stage{stage}" / name, stage)
    except (OSError, InputError):
        return False
    return sizes == record.files
