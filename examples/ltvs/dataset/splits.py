"""Which cases are trained on, which choose the best weights, and which are kept for the test.

Patients are split, not cases: all cases of a patient go to the same part, so that no network is tested on a patient
that it was trained on.
"""

import math
from collections.abc import Mapping
from itertools import pairwise

import numpy as np

from ltvs.dataset.layout import PARTS, Split
from ltvs.runtime.errors import InputError


def split_patients(
    patients: Mapping[str, str], seed: int, validation: int | None = None, test: int | None = None
) -> Split:
    """A random split by seed; counts default to the paper's 7:1:2 (37:5:10 of 52), at least one patient in each part.

    With fewer than three patients nothing can be kept apart: unless counts are given, every case is in every part.

    Args:
        patients: the patient of each case, by the case's name; in any order.
        seed: decides, with the names, who goes where.
        validation: patients for validation, at least one; None for a tenth.
        test: patients for the test; None for a fifth.

    Returns:
        Names of the cases of each part.

    Raises:
        InputError: a count is too small, or leaves no patient to train on.
    """
    groups = _shuffled(patients, seed)
    if len(groups) < 3 and validation is None and test is None:
        return {part: sorted(patients) for part in PARTS}
    validation = max(1, round(len(groups) * 0.1)) if validation is None else validation
    test = max(1, round(len(groups) * 0.2)) if test is None else test
    if validation < 1 or test < 0:
        raise InputError(
            f"--validation {validation} --test {test}: expected 1 or more for validation and 0 or more for the test"
        )
    if validation + test >= len(groups):
        raise InputError(
            f"--validation {validation} --test {test}: expected to leave one or more of {len(groups)} patients to "
            "train on"
        )
    return _parts(groups, validation, test)


def fold_patients(patients: Mapping[str, str], seed: int, folds: int) -> list[Split]:
    """Cross-validation: every patient is in the test of one fold; an eighth of the others validates.

    Five folds have 7:1:2 each.

    Args:
        patients: the patient of each case, by the case's name; in any order.
        seed: decides, with the names, who goes where.
        folds: how many, 2 or more.

    Raises:
        InputError: too few folds, or too few patients for them.
    """
    groups = _shuffled(patients, seed)
    # Two patients have to be outside of the largest fold: one to train on, one for validation.
    if folds < 2 or folds > len(groups) or len(groups) - math.ceil(len(groups) / folds) < 2:
        raise InputError(
            f"--folds {folds}: expected 2 or more, no more than the {len(groups)} patients, and two of them outside "
            "each fold"
        )
    splits = []
    ends = [k * len(groups) // folds for k in range(folds + 1)]
    for start, end in pairwise(ends):
        # What follows the fold comes first, so that another part of the others validates each time.
        others = groups[end:] + groups[:start]
        validation = max(1, round(len(others) / 8))
        splits.append(_parts(others[:validation] + groups[start:end] + others[validation:], validation, end - start))
    return splits


def _shuffled(patients: Mapping[str, str], seed: int) -> list[list[str]]:
    """The cases of each patient, patients in a random order that their first cases' names and the seed decide."""
    groups: dict[str, list[str]] = {}
    for name in sorted(patients):
        groups.setdefault(patients[name], []).append(name)
    by_first = {names[0]: names for names in groups.values()}
    return [by_first[first] for first in np.random.default_rng(seed).permutation(list(by_first)).tolist()]


def _parts(groups: list[list[str]], validation: int, test: int) -> Split:
    """The first patients validate, the next are tested, the rest is trained on."""
    return {
        "train": sorted(name for names in groups[validation + test :] for name in names),
        "validation": sorted(name for names in groups[:validation] for name in names),
        "test": sorted(name for names in groups[validation : validation + test] for name in names),
    }
