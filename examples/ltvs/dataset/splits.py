"""The split of cases into those to train on, those that choose the best weights, and those kept for the test.

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
    """Return a random split; counts default to the paper's 7:1:2 (37:5:10 of 52), at least one patient in each part.

    Fewer than three patients cannot be kept apart: unless counts are given, every case is in every part.

    Args:
        patients: the patient of each case, by the case's name; in any order.
        seed: of the split, which depends on seed and names only.
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
    """Return the folds of a cross-validation: each patient is in one test set; an eighth of the others validates.

    Five folds have 7:1:2 each.

    Args:
        patients: the patient of each case, by the case's name; in any order.
        seed: of the split, which depends on seed and names only.
        folds: number of folds, 2 or more.

    Raises:
        InputError: too few folds, or too few patients for them.
    """
    groups = _shuffled(patients, seed)
    # Two patients have to be outside the largest fold: one to train on, one for validation.
    if folds < 2 or folds > len(groups) or len(groups) - math.ceil(len(groups) / folds) < 2:
        raise InputError(
            f"--folds {folds}: expected 2 or more, no more than the {len(groups)} patients, and two of them outside "
            "each fold"
        )
    splits = []
    ends = [k * len(groups) // folds for k in range(folds + 1)]
    for start, end in pairwise(ends):
        # Patients after the fold come first, so that different ones validate in each fold.
        others = groups[end:] + groups[:start]
        validation = max(1, round(len(others) / 8))
        splits.append(_parts(others[:validation] + groups[start:end] + others[validation:], validation, end - start))
    return splits


def _shuffled(patients: Mapping[str, str], seed: int) -> list[list[str]]:
    """Return the cases of each patient, in a random order that the names of their first cases and the seed decide."""
    groups: dict[str, list[str]] = {}
    for name in sorted(patients):
        groups.setdefault(patients[name], []).append(name)
    by_first = {names[0]: names for names in groups.values()}
    return [by_first[first] for first in np.random.default_rng(seed).permutation(list(by_first)).tolist()]


def _parts(groups: list[list[str]], validation: int, test: int) -> Split:
    """Use the first patients for validation, the next for the test, and the rest for training."""
    return {
        "train": sorted(name for names in groups[validation + test :] for name in names),
        "validation": sorted(name for names in groups[:validation] for name in names),
        "test": sorted(name for names in groups[validation : validation + test] for name in names),
    }
