"""Lesions counted one by one."""

import numpy as np
import pytest

from ltvs.evaluation.lesion_counts import LesionCounts, count_lesions


def masks() -> tuple[np.ndarray, np.ndarray]:
    """Return a prediction and a reference: one lesion in both, one touched, one missed, and two false alarms."""
    prediction, reference = np.zeros((2, 9, 10, 30), dtype=bool)
    reference[1:5, 1:5, 1:5] = prediction[1:5, 1:5, 2:6] = True
    reference[1:5, 1:5, 10:15] = True
    prediction[4:8, 4:8, 14:18] = True
    reference[1:3, 6:9, 20:22] = True
    prediction[0, 0, 28] = prediction[8, 9, 29] = True
    return prediction, reference


def test_a_touch_is_no_hit() -> None:
    counts = count_lesions(*masks())
    assert counts == LesionCounts(reference=3, found=1, predicted=4, confirmed=1)
    assert (counts.recall, counts.precision) == (1 / 3, 1 / 4)


def test_voxels_that_share_a_corner_belong_together() -> None:
    mask = np.zeros((3, 3, 3), dtype=bool)
    mask[0, 0, 0] = mask[1, 1, 1] = True
    assert count_lesions(mask, mask) == LesionCounts(1, 1, 1, 1)


def test_nothing_to_count() -> None:
    nothing = np.zeros((2, 3, 4), dtype=bool)
    counts = count_lesions(nothing, nothing)
    assert counts == LesionCounts()
    assert counts.recall is None
    assert counts.precision is None


def test_counts_add_up() -> None:
    assert LesionCounts(1, 2, 3, 4) + LesionCounts(10, 20, 30, 40) == LesionCounts(11, 22, 33, 44)


def test_masks_of_two_grids() -> None:
    with pytest.raises(ValueError, match=r"expected masks of one shape; got \(1, 2, 3\) and \(3, 2, 1\)"):
        count_lesions(np.zeros((1, 2, 3), dtype=bool), np.zeros((3, 2, 1), dtype=bool))
