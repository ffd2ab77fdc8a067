"""The cases of a cohort, and which structures of them can be scored."""

from functools import partial
from pathlib import Path

import SimpleITK as sitk

from ltvs.dataset.layout import PreparedSet
from ltvs.runtime.errors import InputError
from ltvs.sources import Entry, Source
from ltvs.sources.crlm import crlm
from ltvs.sources.ircadb import ircadb
from ltvs.sources.ltvs import ltvs
from ltvs.sources.msd import load_case, training_cases
from ltvs.volume.case import Case
from ltvs.volume.images import read_ct, read_labels
from ltvs.volume.labels import BACKGROUND, STRUCTURES, TUMOR, VESSEL, Structure


def msd08_without_livers(path: Path) -> Source:
    """List the training cases of Task08_HepaticVessel, each with an empty liver, since none is labeled.

    Raises:
        InputError: no case is found.
    """
    cases: Source = {}
    for number, image, labels in training_cases(path, "Task08_HepaticVessel", "hepaticvessel"):
        name = f"msd08-{number:03d}"
        cases[name] = Entry(partial(load_case, name, image, labels, _no_liver), name, (image, labels))
    return cases


def _no_liver(ct: sitk.Image) -> sitk.Image:
    return sitk.Image(ct.GetSize(), sitk.sitkUInt8)


def prepared(path: Path) -> Source:
    """List the test cases of a prepared set, on the grids of their CTs.

    Raises:
        InputError: there is no prepared set, or it has no test cases.
    """
    data = PreparedSet(path)
    if not data.split["test"]:
        raise InputError(f"{path}: the split has no test cases; prepare it again with --test")
    return {
        name: Entry(partial(_prepared_case, data, name), name, (data.ct(name), data.labels(name)))
        for name in data.split["test"]
    }


def _prepared_case(data: PreparedSet, name: str) -> Case:
    labels = read_labels(data.labels(name))
    vessel = labels == VESSEL if "vessel" in data.structures else None
    return Case(name, read_ct(data.ct(name)), labels > BACKGROUND, vessel, labels == TUMOR)


COHORTS = {"msd08": msd08_without_livers, "ircadb": ircadb, "crlm": crlm, "ltvs": ltvs, "prepared": prepared}
#: What is labeled in the cases of each.
LABELED: dict[str, tuple[Structure, ...]] = dict.fromkeys(COHORTS, STRUCTURES) | {"msd08": ("tumor", "vessel")}
