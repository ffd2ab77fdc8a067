"""Patients that public cohorts share: LiTS was assembled from other cohorts, 3D-IRCADb-01 among them.

The 20 patients of 3D-IRCADb-01 are among cases 28 to 48 of LiTS, and so of the liver task of the Medical Segmentation
Decathlon, which has the same cases. Published lists of which case is which patient differ, and the LiTS paper has none:
no case is identified with a patient here, and all 21 count as shared.
"""

import re
from collections.abc import Mapping

from ltvs.runtime.errors import InputError

_LITS = re.compile(r"(?:lits-|msd03-|volume-|liver_)(\d{1,3})", re.IGNORECASE)
_IRCADB = re.compile(r"(?:ircadb-|3Dircadb1\.)(\d{1,2})", re.IGNORECASE)
_SHARED = {f"lits-{number:03d}" for number in range(28, 49)}


def patient_of(case: str) -> str:
    """Return the id of the patient that a case name of a public cohort stands for; any other name is its own id.

    Example:
        >>> patient_of("liver_28"), patient_of("volume-28"), patient_of("3Dircadb1.4"), patient_of("ward 7")
        ('lits-028', 'lits-028', 'ircadb-04', 'ward 7')
    """
    if lits := _LITS.fullmatch(case):
        return f"lits-{int(lits[1]):03d}"
    if ircadb := _IRCADB.fullmatch(case):
        return f"ircadb-{int(ircadb[1]):02d}"
    return case


def shared_with_ircadb(patients: Mapping[str, str]) -> list[str]:
    """Return the cases of LiTS that may show a patient of 3D-IRCADb-01.

    Args:
        patients: by case, as `Entry.patient` and `patient_of` give them.
    """
    return sorted(case for case, patient in patients.items() if patient in _SHARED)


def check_apart(patients: Mapping[str, str]) -> None:
    """Raise InputError if a data set has patients of 3D-IRCADb-01 and cases of LiTS that may show the same ones.

    A split by patient could then train on a patient whom it tests on.

    Args:
        patients: by case, as for `shared_with_ircadb`.
    """
    shared = shared_with_ircadb(patients)
    ircadb = sorted(case for case, patient in patients.items() if patient.startswith("ircadb-"))
    if shared and ircadb:
        raise InputError(
            "LiTS 28-48: expected these or 3D-IRCADb-01 in one data set, since they show the same patients; got "
            f"{', '.join(shared)} beside {', '.join(ircadb)}; leave out one or the other (--leave-out)"
        )


def overlap_warning(patients: Mapping[str, str]) -> str | None:
    """Return a warning that names the cases of LiTS that may be of 3D-IRCADb-01; None if there are none.

    Args:
        patients: by case, as for `shared_with_ircadb`.
    """
    shared = shared_with_ircadb(patients)
    if not shared:
        return None
    return (
        "LiTS 28-48: these include the patients of 3D-IRCADb-01, most with a wrong spacing of 1 mm; if you test on "
        f"3D-IRCADb-01, leave them out (--leave-out): {', '.join(shared)}"
    )
