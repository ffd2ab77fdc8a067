"""Turn CTs and their masks, or synthetic phantoms, into a data set for train_ltvs.py."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ltvs.dataset.layout import MAPS, PreparedSet, Split
from ltvs.dataset.nnunet import check_target, export_nnunet
from ltvs.dataset.preparing import Outcome, prepare_set
from ltvs.dataset.provenance import Recipe
from ltvs.dataset.splits import fold_patients, split_patients
from ltvs.dataset.survey import check_set, print_reports
from ltvs.model.stage_view import Preparation, StageGrid
from ltvs.phantom.cohort import VERSION
from ltvs.runtime.choices import check_choices
from ltvs.runtime.command_line import run
from ltvs.runtime.errors import InputError, few, printable
from ltvs.runtime.outputs import check_not_around, check_outside
from ltvs.sources import Source
from ltvs.sources.crlm import crlm
from ltvs.sources.ct_and_masks import LIVER_AND_TUMOR
from ltvs.sources.identity import check_apart, overlap_warning
from ltvs.sources.ircadb import ircadb
from ltvs.sources.lits import lits
from ltvs.sources.ltvs import ltvs
from ltvs.sources.msd import msd03, msd08
from ltvs.sources.phantom import phantoms
from ltvs.volume.labels import STRUCTURES


@dataclass(frozen=True)
class PrepareSettings:
    """Settings of preparation."""

    source: Literal["phantom", "ircadb", "msd03", "msd08", "lits", "crlm", "ltvs"]
    """Where the cases come from:
    - phantom: synthetic CTs;
    - ircadb: 3D-IRCADb-01;
    - msd03: Medical Segmentation Decathlon, Task03_Liver;
    - msd08: Medical Segmentation Decathlon, Task08_HepaticVessel;
    - lits: LiTS17;
    - crlm: TCIA Colorectal-Liver-Metastases;
    - ltvs: a folder for each case with ct, liver, vessel and tumor (.nii.gz, .nii, .nrrd, .mha)."""
    output: Path | None = None
    """Folder for the prepared data set.
    Cases of other sources in it are kept if they were prepared with the same settings."""
    input: Path | None = None
    """Folder of the cases as downloaded, or a zip of ircadb (all sources but phantom)."""
    liver: Path | None = None
    """Folder of liver masks with the same names as the CTs (msd08 only)."""
    liver_from: Path | None = None
    """Run whose trained stage 1 finds the livers. Use it instead of --liver (msd08 only)."""
    device: str = "cpu"
    """Device for --liver-from: cpu, cuda, cuda:1, ... Each of the --workers loads its own network."""
    smallest_liver: float | None = None
    """Smallest liver that --liver-from accepts, ml; 100 by default. It refuses cases with less (msd08 only)."""
    leave_out: tuple[str, ...] = ()
    """Names of cases to leave out."""
    check: bool = False
    """Check each case, print problems and their remedies, and write nothing."""
    force: bool = False
    """Accept CTs even if the checks say that they are another modality or not in HU."""
    window: tuple[float, float] = (-160.0, 240.0)
    """Lowest and highest HU. Values outside are clipped."""
    pixels: int = 320
    """Stage 1: rows and columns of each slice."""
    slice_spacing: float = 1.0
    """Stage 1: slice spacing, mm."""
    liver_pixels: int = 320
    """Stage 2: rows and columns of the liver box."""
    liver_slice_spacing: float = 1.0
    """Stage 2: slice spacing, mm."""
    margin: float = 10.0
    """Stage 2: margin between the liver and each side of its box, mm."""
    validation: int | None = None
    """Number of patients for validation; a tenth of all by default."""
    test: int | None = None
    """Number of patients held out for the test; a fifth of all by default."""
    folds: int = 0
    """Number of cross-validation folds to write as well (fold1.json, ...); 0 for none.
    Each patient is tested in one of them."""
    seed: int = 0
    """Seed of the split and of the first phantom."""
    count: int = 52
    """Number of phantoms (phantom source only)."""
    maps: int = 0
    """Number of synthetic patients to paint as maps of tissues as well (phantom source only).
    train_ltvs.py --render makes its patches from these maps."""
    matrix: int = 512
    """Rows and columns of the CT (phantom source only)."""
    ct_slice_spacing: float | None = None
    """Slice spacing of the CT, mm (phantom source only).
    By default, each phantom gets a random one from 0.8 to 2."""
    anatomy: Path | None = None
    """Folder of label maps (1 liver, 2 vessel) to build phantoms around (phantom source only)."""
    export_nnunet: Path | None = None
    """Folder to create in nnU-Net's raw format, with a name like Dataset501_Liver.
    It gets the CTs and labels before resampling, and the split as splits_final.json."""
    workers: int = os.cpu_count() or 1
    """Number of cases to prepare at the same time."""

    def __post_init__(self) -> None:
        check_choices(self)
        for name in ("pixels", "slice_spacing", "liver_pixels", "liver_slice_spacing", "workers"):
            if not getattr(self, name) > 0:
                raise InputError(f"--{name.replace('_', '-')}: expected more than 0; got {getattr(self, name)}")
        if not self.window[0] < self.window[1]:
            raise InputError(f"--window: expected the lower bound first; got {self.window}")
        if not self.margin >= 0:
            raise InputError(f"--margin: expected 0 mm or more; got {self.margin}")
        if self.smallest_liver is not None and not self.smallest_liver >= 0:
            raise InputError(f"--smallest-liver: expected 0 ml or more; got {self.smallest_liver}")
        if not self.folds >= 0:
            raise InputError(f"--folds: expected 0 for none, or 2 or more; got {self.folds}")
        if self.export_nnunet is not None:
            if self.check:
                raise InputError("--export-nnunet: expected without --check, which writes nothing; give one of the two")
            check_target(self.export_nnunet)
        if self.maps < 0 or (self.maps and self.source != "phantom"):
            raise InputError(f"--maps: expected 0 or more, with --source phantom only; got {self.maps}, {self.source}")
        if self.source != "msd08" and (self.liver or self.liver_from or self.smallest_liver is not None):
            raise InputError(
                "--liver, --liver-from, --smallest-liver: expected with --source msd08 only; "
                f"got --source {self.source}"
            )

    def check_places(self) -> None:
        """Raise InputError if a folder to write is, holds or lies in what is read, or in the other one."""
        inputs = {
            "--input": self.input,
            "--liver": self.liver,
            "--liver-from": self.liver_from,
            "--anatomy": self.anatomy,
        }
        for folder in filter(None, (self.output, self.export_nnunet)):
            check_outside(folder, inputs)
            check_not_around(folder, inputs)
        if self.output is None:
            return
        for part in ("images", "labels", "stage1", "stage2", MAPS):
            check_outside(self.output / part, inputs)  # one may be a link to where it must not lead
        if self.export_nnunet is not None:
            check_outside(self.export_nnunet, {"--output": self.output})
            check_not_around(self.export_nnunet, {"--output": self.output})

    def cases(self) -> Source:
        """Return the cases to prepare."""
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
            return msd08(self.input, self.liver, self.liver_from, self.device, self.smallest_liver, force=self.force)
        if self.source in ("ircadb", "ltvs"):  # the files of the others cannot say that they are no CT
            return {"ircadb": ircadb, "ltvs": ltvs}[self.source](self.input, force=self.force)
        return {"msd03": msd03, "lits": lits, "crlm": crlm}[self.source](self.input)

    def recipe(self) -> Recipe:
        """Return the recipe, which decides the content of each prepared case."""
        source: dict[str, Any] = {"kind": self.source}
        place = self.input
        if self.source == "phantom":
            source |= {"version": VERSION, "matrix": self.matrix, "slice_spacing": self.ct_slice_spacing}
            place = self.anatomy
        if self.liver_from is not None:
            source["smallest_liver"] = self.smallest_liver
        source["structures"] = list(LIVER_AND_TUMOR.values() if self.source in ("msd03", "lits") else STRUCTURES)
        origin = f"{self.source} {place.resolve()}" if place else self.source
        return Recipe(source, self.preparation(), origin, self.force)

    def preparation(self) -> Preparation:
        """Return the preparation of each case."""
        stage1 = StageGrid(self.pixels, self.slice_spacing)
        stage2 = StageGrid(self.liver_pixels, self.liver_slice_spacing)
        return Preparation(self.window, stage1, stage2, self.margin)

    def divide(self, patients: Mapping[str, str]) -> dict[str, Split]:
        """Return the splits by the names of their files, given the patient of each case."""
        splits = {"split.json": split_patients(patients, self.seed, self.validation, self.test)}
        if self.folds:
            folds = fold_patients(patients, self.seed, self.folds)
            splits |= {f"fold{k}.json": split for k, split in enumerate(folds, start=1)}
        return splits


def main(settings: PrepareSettings) -> None:
    """Prepare a data set for both stages.

    Defaults are the paper's values where it states them (docs/understand/choices.md).
    """
    source = settings.cases()
    patients = {name: entry.patient for name, entry in source.items()}
    if warning := overlap_warning(patients):
        print(f"warning: {warning}", file=sys.stderr)
    if settings.check:
        check_apart(patients)
        reports = check_set(source, settings.preparation(), settings.workers, force=settings.force)
        print_reports(reports)
        bad = sum(bool(report.texts("error")) for report in reports.values())
        if bad:
            raise InputError(f"{bad} of {len(source)} cases cannot be used, see above")
        return
    if settings.output is None:
        raise InputError("--output: expected a folder for the prepared data set, or --check to write nothing")
    settings.check_places()
    outcome = prepare_set(source, settings.recipe(), settings.output, settings.workers, settings.divide, settings.maps)
    _print_outcome(outcome, settings.output)
    if settings.maps and not outcome.failed:
        maps = PreparedSet(settings.output).maps()
        print(f"{len(maps)} maps of tissues in {settings.output / MAPS} ({outcome.painted} new)")
    if outcome.failed:
        raise InputError(f"{len(outcome.failed)} of {len(source)} cases could not be prepared, see above")
    if settings.export_nnunet is not None:
        labels = export_nnunet(PreparedSet(settings.output), settings.export_nnunet)
        named = ", ".join(f"{value} {name}" for name, value in labels.items())
        print(f"for nnU-Net: {settings.export_nnunet} (labels {named})")
        print("after planning, copy its splits_final.json into the folder of nnU-Net's plans")


def _print_outcome(outcome: Outcome, output: Path) -> None:
    """Print what was done, and what was not and why."""
    for name, reason in sorted(outcome.failed.items()):
        print(printable(f"not prepared: {name}: {reason}"), file=sys.stderr)
    if outcome.odd:
        print(f"warning: these cases have warnings, and --check prints them: {few(outcome.odd)}")
    if outcome.left_out:
        print(f"left out, because the source no longer has them: {few(outcome.left_out)}")
    if not outcome.patients:
        return
    if outcome.kept:
        print(f"kept {len(outcome.kept)} cases of other sources in the folder; the split is drawn again over all cases")
    split = outcome.splits["split.json"]
    counts = ", ".join(f"{len(names)} {part}" for part, names in split.items())
    patients = len(set(outcome.patients.values()))
    print(f"{len(outcome.patients)} cases of {patients} patients in {output}: {counts} ({len(outcome.made)} new)")
    if len(outcome.splits) > 1:
        print(f"folds: {', '.join(name for name in outcome.splits if name != 'split.json')}")
    if set(split["train"]) & set(split["validation"] + split["test"]):
        print("warning: too few patients for separate parts, so all parts share every case; scores will mean little")


if __name__ == "__main__":
    run(main, PrepareSettings)
