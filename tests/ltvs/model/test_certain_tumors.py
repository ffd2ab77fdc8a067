"""Which tumors are left, on probabilities that are known."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ltvs.model.certain_tumors import CORE, RIM, keep_certain_tumors

BACKGROUND, VESSEL, TUMOR = range(3)


def with_odds(odds: np.ndarray, other: int = BACKGROUND) -> np.ndarray:
    """Probabilities of tumor at the given odds against another class, while the third has none."""
    probabilities = np.zeros((3, *odds.shape), dtype=np.float32)
    probabilities[TUMOR] = odds / (1 + odds)
    probabilities[other] = 1 / (1 + odds)
    return probabilities


def test_a_part_with_a_core_stays_to_its_moderate_rim_and_others_go() -> None:
    odds = np.zeros((3, 4, 9))
    odds[1, 1, :] = [1.1 * CORE, 1.1 * RIM, 1.1 * RIM, 0.9 * RIM, 0, 0.9 * CORE, 0.9 * CORE, 0, 1.1 * CORE]
    for other in (BACKGROUND, VESSEL):
        kept = keep_certain_tumors(with_odds(odds, other))
        assert kept[TUMOR, 1, 1].astype(bool).tolist() == [True, True, True, False, False, False, False, False, True]
        assert kept[:, 1, 1].argmax(0).tolist() == [2, 2, 2, other, other, other, other, other, 2]


def test_corners_do_not_connect() -> None:
    odds = np.zeros((2, 3, 4))
    odds[0, 0, 0], odds[0, 1, 1] = 2 * CORE, 2 * RIM
    assert keep_certain_tumors(with_odds(odds))[TUMOR].astype(bool).sum() == 1


@given(arrays(np.float32, (3, 4, 5, 6), elements=st.floats(0.0, 1.0, width=32)))
def test_other_classes_and_what_stays_are_as_before(probabilities: np.ndarray) -> None:
    """And a second time changes nothing."""
    before = probabilities.copy()
    kept = keep_certain_tumors(probabilities)
    np.testing.assert_array_equal(probabilities, before)
    np.testing.assert_array_equal(kept[:TUMOR], before[:TUMOR])
    assert ((kept[TUMOR] == 0) | (kept[TUMOR] == before[TUMOR])).all()
    found, core = kept[TUMOR] > 0, before[TUMOR] > CORE * before[:TUMOR].max(0)
    assert found[core].all()
    assert (before[TUMOR] > RIM * before[:TUMOR].max(0))[found].all()
    np.testing.assert_array_equal(keep_certain_tumors(kept), kept)
