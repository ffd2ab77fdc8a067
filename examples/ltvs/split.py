"""Which cases are trained on, which choose the best weights, and which are kept for the test."""

import numpy as np

from ltvs.errors import InputError


def split_cases(
    names: list[str], validation: int | None, test: int | None, seed: int
) -> dict[str, list[str]]:
    """A random split by seed; counts default to the paper's 7:1:2 (37:5:10 of 52), at least one case each.

    With fewer than three cases nothing can be kept apart: every case is in every part.

    Args:
        names: of all cases.
        validation: cases for validation; None for a tenth.
        test: cases for the test; None for a fifth.
        seed: of the order.

    Raises:
        InputError: the counts leave no case to train on.
    """
    if len(names) < 3:
        return {part: sorted(names) for part in ("train", "validation", "test")}
    validation = max(1, round(len(names) * 0.1)) if validation is None else validation
    test = max(1, round(len(names) * 0.2)) if test is None else test
    if min(validation, test) < 0 or validation + test >= len(names):
        raise InputError(
            f"--validation {validation} --test {test}: expected to leave at least one of {len(names)} cases to train on"
        )
    order = [names[i] for i in np.random.default_rng(seed).permutation(len(names))]
    return {
        "train": sorted(order[validation + test :]),
        "validation": sorted(order[:validation]),
        "test": sorted(order[validation : validation + test]),
    }
