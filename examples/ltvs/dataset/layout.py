"""A prepared data set on disk, as prepare_ltvs.py writes it and training reads it.

DIR/dataset.json   DIR/split.json   DIR/fold1.json ...   DIR/images/CASE.nii.gz   DIR/labels/CASE.nii.gz
DIR/stage1/CASE/...   DIR/stage2/CASE/... (arrays.py)   DIR/maps/SEED/... (phantom/maps.py)
"""

from pathlib import Path

from ltvs.dataset.arrays import PreparedCase, open_case
from ltvs.model.stage_view import Preparation
from ltvs.model.stages import CLASSES, Stage
from ltvs.runtime.errors import InputError
from ltvs.runtime.files import read_json
from ltvs.sources.identity import check_apart

#: Version of the folder's layout; 2 introduced facts.json and places.npy.
FORMAT = 2
#: Folder of the maps of tissues.
MAPS = "maps"
PARTS = ("train", "validation", "test")

#: Names of the cases of each part.
Split = dict[str, list[str]]


class PreparedSet:
    """A prepared data set.

    Args:
        folder: as prepare_ltvs.py writes it.
        split: file with the cases that train, validate and test; relative to the folder.

    Raises:
        InputError: the folder holds no prepared data set, or a damaged one.
    """

    def __init__(self, folder: Path, split: Path = Path("split.json")) -> None:
        if not (folder / "dataset.json").is_file():
            raise InputError(
                f"{folder}: no prepared data set here (dataset.json is missing); make one with prepare_ltvs.py"
            )
        file = folder / split
        if not file.is_file():
            there = ", ".join(sorted(path.name for path in folder.glob("*.json") if path.name != "dataset.json"))
            raise InputError(f"{file}: no such split, found {there or 'none'}; prepare_ltvs.py makes them")
        description, parts = read_json(folder / "dataset.json"), read_json(file)
        self.folder = folder
        try:
            if description["format"] != FORMAT:
                raise InputError(f"{folder}: format {description['format']}, expected {FORMAT}; prepare it again")
            self.preparation = Preparation.from_json(description["preparation"])
            self.cases: tuple[str, ...] = tuple(description["cases"])
            self.structures: tuple[str, ...] = tuple(description["structures"])
            self.split: Split = {part: list(parts[part]) for part in PARTS}
        except (KeyError, TypeError, ValueError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(
                f"{folder}: dataset.json or {file.name} is damaged ({error!r}); prepare it again"
            ) from error
        unknown = sorted({name for names in self.split.values() for name in names} - set(self.cases))
        if unknown:
            raise InputError(f"{file}: names cases that were not prepared: {', '.join(unknown)}")
        check_apart(description["cases"])

    def maps(self) -> tuple[Path, ...]:
        """Return the folders of the maps of tissues, from which training renders patches; none if there are none."""
        return tuple(sorted(path.parent for path in (self.folder / MAPS).glob("*/map.json")))

    def check_stage(self, stage: Stage) -> None:
        """Raise InputError if a structure that a stage is to find was not labeled in these cases.

        They would teach the network that it does not exist.
        """
        missing = [name for name in CLASSES[stage][1:] if name not in self.structures]
        if missing:
            raise InputError(
                f"{self.folder}: expected labels of {' and '.join(CLASSES[stage][1:])} to train stage {stage}; not all "
                f"cases have {' and '.join(missing)}; train stage 1 alone (--stage 1), and stage 2 on another set"
            )

    def ct(self, name: str) -> Path:
        """Return the file of a case's CT, on its own grid."""
        return self.folder / "images" / f"{name}.nii.gz"

    def labels(self, name: str) -> Path:
        """Return the file of a case's label map, on the CT's own grid."""
        return self.folder / "labels" / f"{name}.nii.gz"

    def case(self, stage: Stage, name: str) -> PreparedCase:
        """Open the arrays of a case for a stage, memory-mapped.

        Raises:
            InputError: they are missing or damaged.
        """
        return open_case(self.folder / f"stage{stage}" / name, stage)
