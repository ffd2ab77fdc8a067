"""Numbers of lesions as files and tables show them."""

import numpy as np

from ltvs.evaluation.lesion_scores import COUNTS, lesion_scores, sum_lesions
from ltvs.volume.grids import Grid

GRID = Grid((40, 5, 1), (1.0, 0.5, 3.0), (0, 0, 0), (1, 0, 0, 0, 1, 0, 0, 0, 1))


def rows(*lengths: int) -> np.ndarray:
    """Return tumors of so many mm along x."""
    mask = np.zeros((1, 5, 40), dtype=bool)
    for k, length in enumerate(lengths):
        mask[0, 2 * k, :length] = True
    return mask


def test_each_size_has_each_outcome() -> None:
    scores = lesion_scores(rows(5, 0, 30), rows(8, 15, 0), GRID)
    found = {"found": 1, "found_under_10_mm": 1, "missed": 1, "missed_10_to_20_mm": 1}
    predicted = {"confirmed": 1, "confirmed_under_10_mm": 1, "false": 1, "false_over_20_mm": 1}
    assert scores == dict.fromkeys(COUNTS, 0) | found | predicted
    assert list(scores) == list(COUNTS)


def test_recall_and_precision_are_over_all_cases() -> None:
    """Not means of those of cases: 3 of 4 lesions are found, and 3 of 5 are confirmed."""
    pairs = [(rows(5, 15, 30), rows(5, 15, 30)), (rows(0, 9, 8), rows(5))]
    summary = sum_lesions([lesion_scores(*pair, GRID) for pair in pairs])
    assert (summary["recall"], summary["precision"]) == (3 / 4, 3 / 5)
    assert (summary["found"], summary["missed"], summary["confirmed"], summary["false"]) == (3, 1, 3, 2)
    assert (summary["found_10_to_20_mm"], summary["false_under_10_mm"]) == (1, 2)
