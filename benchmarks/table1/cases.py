"""The patients: maps to train on, phantoms to validate and test on, and real CTs, each with the liver of stage 1."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.real_cases.cohorts import COHORTS
from benchmarks.table1.budgets import PHANTOMS, Budget
from demo_steps import command
from ltvs.dataset.layout import PreparedSet
from ltvs.dataset.one_case import compose_labels
from ltvs.model.computing import best_device
from ltvs.model.pipeline import find_liver
from ltvs.model.saved import load_stage
from ltvs.model.shipping import SHIPPED
from ltvs.runtime.errors import InputError
from ltvs.volume.images import read_ct, write_volume


@dataclass(frozen=True)
class HeldOut:
    """A labeled CT to test on, as files.

    Args:
        name: of the case.
        real: whether it is a patient's.
        ct: HU.
        reference: its labels, on the same grid.
        liver: mask that stage 1 finds, the same for all systems.
    """

    name: str
    real: bool
    ct: Path
    reference: Path
    liver: Path


def prepare(budget: Budget, output: Path) -> PreparedSet:
    """Make the data set, or find it made."""
    # One phantom more, since a data set needs one to train on; maps take its place.
    count = 1 + budget.validation + budget.test
    words = f"{PHANTOMS} --count {count} --validation {budget.validation} --test {budget.test} --maps {budget.maps}"
    command("prepare_ltvs.py", words, budget.grids, "--output", output / "data")
    return PreparedSet(output / "data")


def held_out(data: PreparedSet, cohorts: Sequence[tuple[str, str]], output: Path) -> list[HeldOut]:
    """Return the held-out phantoms and the real CTs; the liver of each is found where it has not been.

    Args:
        data: the prepared set.
        cohorts: of real labeled CTs: source, and path.
        output: folder of the study.

    Raises:
        InputError: a cohort cannot be read, or no liver is found.
    """
    folder = output / "held-out"
    cases = [
        HeldOut(name, False, data.ct(name), data.labels(name), folder / name / "liver.nii.gz")
        for name in data.split["test"]
    ]
    cases += [case for source, path in cohorts for case in _real(source, Path(path), folder)]
    missing = [case for case in cases if not case.liver.is_file()]
    stage1 = load_stage(SHIPPED, 1) if missing else None
    for case in missing:
        assert stage1 is not None
        try:
            liver = find_liver(read_ct(case.ct), stage1, best_device(), precision="32")
        except InputError as error:
            raise InputError(f"{case.name}: {error}") from error
        write_volume(liver, case.liver)
    return cases


def _real(source: str, path: Path, folder: Path) -> list[HeldOut]:
    """Return the cases of a cohort, whose CTs and labels are written where they have not been."""
    cases = []
    for name, entry in COHORTS[source](path).items():
        case = HeldOut(name, True, *(folder / name / f"{part}.nii.gz" for part in ("ct", "labels", "liver")))
        if not case.reference.is_file():
            loaded = entry.load()
            write_volume(loaded.ct, case.ct)
            write_volume(compose_labels(loaded), case.reference)
        cases.append(case)
    return cases
