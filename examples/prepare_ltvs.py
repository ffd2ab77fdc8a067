"""Turn CTs and their masks into a data set that train_ltvs.py reads; phantoms are made on the way."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ltvs.cli import run
from ltvs.errors import InputError
from ltvs.labels import STRUCTURES
from ltvs.patients import check_apart, overlap_warning
from ltvs.prepare import Recipe, prepare_cases, write_description
from ltvs.prepared import Preparation, StageGrid
from ltvs.sources import Source
from ltvs.sources.crlm import crlm
from ltvs.sources.ircadb import ircadb
from ltvs.sources.labelled import LIVER_AND_TUMOR
from ltvs.sources.lits import lits
from ltvs.sources.ltvs import ltvs
from ltvs.sources.msd import msd03, msd08
from ltvs.sources.phantom import phantoms
from ltvs.split import split_cases


@dataclass(frozen=True)
class PrepareSettings:
    """Settings of preparation."""

    source: Literal["phantom", "ircadb", "msd03", "msd08", "lits", "crlm", "ltvs"]
    """Where cases come from: made phantoms; 3D-IRCADb-01; Medical Segmentation Decathlon, Task03_Liver or
    Task08_HepaticVessel; LiTS17; TCIA Colorectal-Liver-Metastases; or ltvs, a folder per case with ct, liver, vessel
    and tumor (.nii.gz, .nii, .nrrd, .mha)."""
    output: Path
    """Folder of the prepared data set."""
    input: Path | None = None
    """Of all but phantom: the folder of the cases as downloaded; of ircadb also a zip."""
    liver: Path | None = None
    """Of msd08: folder of liver masks named like the CTs."""
    liver_from: Path | None = None
    """Of msd08: run whose trained stage 1 finds the livers, instead of --liver."""
    device: str = "cpu"
    """Of --liver-from: where that stage runs, cpu, cuda, cuda:1, ...; one network in each of the --workers."""
    leave_out: tuple[str, ...] = ()
    """Names of cases to leave out."""
    window: tuple[float, float] = (-160.0, 240.0)
    """Window, HU: clipped to it."""
    pixels: int = 320
    """Stage 1: rows and columns of a slice."""
    slice_spacing: float = 1.0
    """Stage 1: distance of slices, mm."""
    liver_pixels: int = 320
    """Stage 2: rows and columns of the liver box."""
    liver_slice_spacing: float = 1.0
    """Stage 2: distance of slices, mm."""
    margin: float = 10.0
    """Around the liver on every side of its box, mm."""
    validation: int | None = None
    """Cases for validation; a tenth if not given."""
    test: int | None = None
    """Cases kept for the test; a fifth if not given."""
    seed: int = 0
    """Of the split, and of the first phantom."""
    count: int = 52
    """Of phantom: how many."""
    matrix: int = 512
    """Of phantom: rows and columns of the CT."""
    ct_slice_spacing: float | None = None
    """Of phantom: distance of the CT's slices, mm; drawn from 0.8 to 2 for each phantom if not given."""
    anatomy: Path | None = None
    """Of phantom: folder of label maps (1 liver, 2 vessel) to build phantoms around, instead of made ones."""
    workers: int = os.cpu_count() or 1
    """Cases prepared at a time."""

    def __post_init__(self) -> None:
        for name in ("pixels", "slice_spacing", "liver_pixels", "liver_slice_spacing", "workers"):
            if not getattr(self, name) > 0:
                raise InputError(f"--{name.replace('_', '-')}: expected more than 0; got {getattr(self, name)}")
        if not self.window[0] < self.window[1]:
            raise InputError(f"--window: expected the lower bound first; got {self.window}")
        if not self.margin >= 0:
            raise InputError(f"--margin: expected 0 mm or more; got {self.margin}")
        if self.source != "msd08" and (self.liver or self.liver_from):
            raise InputError(f"--liver, --liver-from: expected with --source msd08 alone; got --source {self.source}")

    def cases(self) -> Source:
        """The cases to prepare."""
        found = self._all_cases()
        if unknown := sorted(set(self.leave_out) - set(found)):
            known = ", ".join(sorted(found)[:3])
            raise InputError(f"--leave-out: expected names of cases ({known}, ...); got {', '.join(unknown)}")
        cases = {name: entry for name, entry in found.items() if name not in self.leave_out}
        if not cases:
            raise InputError(f"--leave-out: expected one case or more to be left; all {len(found)} are left out")
        return cases

    def _all_cases(self) -> Source:
        if self.source == "phantom":
            return phantoms(self.count, self.seed, self.matrix, self.ct_slice_spacing, self.anatomy)
        if self.input is None:
            raise InputError(f"--input: expected for --source {self.source}, the folder of its cases")
        if not self.input.exists():
            raise InputError(f"--input {self.input}: does not exist")
        if self.source == "msd08":
            return msd08(self.input, self.liver, self.liver_from, self.device)
        return {"ircadb": ircadb, "msd03": msd03, "lits": lits, "crlm": crlm, "ltvs": ltvs}[self.source](self.input)

    def recipe(self) -> Recipe:
        """What decides the content of each prepared case."""
        if self.source == "phantom":
            source = {
                "kind": "phantom",
                "matrix": self.matrix,
                "slice_spacing": self.ct_slice_spacing,
                "anatomy": self.anatomy and str(self.anatomy.resolve()),
            }
        else:
            places = {"input": self.input, "liver": self.liver, "liver_from": self.liver_from}
            source = {"kind": self.source} | {name: str(place.resolve()) for name, place in places.items() if place}
        source["structures"] = list(LIVER_AND_TUMOR.values() if self.source in ("msd03", "lits") else STRUCTURES)
        stage1 = StageGrid(self.pixels, self.slice_spacing)
        stage2 = StageGrid(self.liver_pixels, self.liver_slice_spacing)
        return Recipe(source, Preparation(self.window, stage1, stage2, self.margin))


def main(settings: PrepareSettings) -> None:
    """Prepare a data set for both stages; the defaults are the paper's."""
    source, recipe = settings.cases(), settings.recipe()
    patients = {name: entry.patient for name, entry in source.items()}
    check_apart(patients)
    if warning := overlap_warning(patients):
        print(f"warning: {warning}", file=sys.stderr)
    split_cases(source, settings.seed, settings.validation, settings.test)  # what cannot be is said before the work
    outcome = prepare_cases(source, recipe, settings.output, settings.workers)
    for name, reason in sorted(outcome.failed.items()):
        print(f"not prepared: {name}: {reason}", file=sys.stderr)
    if outcome.done:
        split = split_cases(outcome.done, settings.seed, settings.validation, settings.test)
        write_description(settings.output, recipe, outcome.done, split)
        counts = ", ".join(f"{len(names)} {part}" for part, names in split.items())
        print(f"{len(outcome.done)} cases in {settings.output}: {counts}")
        if set(split["train"]) & set(split["validation"] + split["test"]):
            print("warning: too few cases to keep some apart, so all are in every part; the scores will mean little")
    if outcome.failed:
        raise InputError(f"{len(outcome.failed)} of {len(source)} cases could not be prepared, see above")


if __name__ == "__main__":
    run(main, PrepareSettings)
