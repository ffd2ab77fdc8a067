"""Which cases are trained on, which choose the best weights, and which are kept for the test."""

from collections.abc import Collection

import numpy as np

from ltvs.errors import InputError
from ltvs.prepared import PARTS


def split_cases(
    names: Collection[str], seed: int, validation: int | None = None, test: int | None = None
) -> dict[str, list[str]]:
    """A random split by seed; counts default to the paper's 7:1:2 (37:5:10 of 52), at least one case in each part.

    With fewer than three cases nothing can be kept apart: unless counts are given, every case is in every part.

    Args:
        names: of all cases, in any order.
        seed: decides, with the names, which case goes where.
        validation: cases for validation, at least one; None for a tenth.
        test: cases for the test; None for a fifth.

    Raises:
        InputError: a count is too small, or leaves no case to train on.
    """
    if len(names) < 3 and validation is None and test is None:
        return {part: sorted(names) for part in PARTS}
    validation = max(1, round(len(names) * 0.1)) if validation is None else validation
    test = max(1, round(len(names) * 0.2)) if test is None else test
    if validation < 1 or test < 0:
        raise InputError(
            f"--validation {validation} --test {test}: expected 1 or more for validation and 0 or more for the test"
        )
    if validation + test >= len(names):
        raise InputError(
            f"--validation {validation} --test {test}: expected to leave one or more of {len(names)} cases to train on"
        )
    shuffled = np.random.default_rng(seed).permutation(sorted(names)).tolist()
    return {
        "train": sorted(shuffled[validation + test :]),
        "validation": sorted(shuffled[:validation]),
        "test": sorted(shuffled[validation : validation + test]),
    }
