"""What each stage sees and says."""

import numpy as np
import pytest
from ltvs.stages import CLASSES, STAGES, liver_region, network_input, network_target

WINDOW = (-160.0, 240.0)
LABELS = np.array([[[0, 1, 2, 3]]], dtype=np.uint8)


def test_the_window_becomes_0_to_1() -> None:
    hu = np.array([[[-1000, -160, 40, 240, 900]]], dtype=np.int16)
    np.testing.assert_allclose(network_input(hu, None, WINDOW), [[[0, 0, 0.5, 1, 1]]], rtol=0, atol=1e-6)


def test_stage_2_sees_the_liver_only() -> None:
    hu = np.full((1, 1, 4), 240, dtype=np.int16)
    np.testing.assert_array_equal(network_input(hu, liver_region(LABELS, 2), WINDOW), [[[0, 1, 1, 1]]])
    assert liver_region(LABELS, 1) is None


@pytest.mark.parametrize(("stage", "expected"), [(1, [0, 1, 1, 1]), (2, [0, 0, 1, 2])])
def test_targets_are_indices_into_the_classes(stage: int, expected: list[int]) -> None:
    target = network_target(LABELS, stage)
    np.testing.assert_array_equal(target[0, 0], expected)
    assert target.max() == len(CLASSES[stage]) - 1


def test_classes_are_named_for_every_stage() -> None:
    assert CLASSES == {1: ("background", "liver"), 2: ("background", "vessel", "tumor")}
    assert tuple(CLASSES) == STAGES
