"""The cases of a cohort, and which structures of them can be scored."""

from functools import partial
from pathlib import Path

import SimpleITK as sitk

from ltvs.sources import Entry, Source
from ltvs.sources.crlm import crlm
from ltvs.sources.ircadb import ircadb
from ltvs.sources.ltvs import ltvs
from ltvs.sources.msd import load_case, training_cases
from ltvs.volume.labels import STRUCTURES, Structure


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


COHORTS = {"msd08": msd08_without_livers, "ircadb": ircadb, "crlm": crlm, "ltvs": ltvs}
#: What is labeled in the cases of each.
LABELED: dict[str, tuple[Structure, ...]] = dict.fromkeys(COHORTS, STRUCTURES) | {"msd08": ("tumor", "vessel")}
