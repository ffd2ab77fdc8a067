"""The input and the target of each stage."""

import numpy as np
import pytest

from ltvs.model.stage_view import Preparation, StageGrid
from ltvs.model.stages import CLASSES, STAGES, find_hu_offset, liver_region, network_input, network_target
from ltvs.runtime.errors import InputError

WINDOW = (-160.0, 240.0)
LABELS = np.array([[[0, 1, 2, 3]]], dtype=np.uint8)


def test_stage_1_sees_hu_above_the_low_end_of_the_window_in_units_of_50() -> None:
    hu = np.array([[[-1000, -160, 40, 240, 900]]], dtype=np.int16)
    zero = find_hu_offset(hu, None, WINDOW)
    np.testing.assert_allclose(network_input(hu, None, WINDOW, zero), [[[0, 0, 4, 8, 8]]], rtol=0, atol=1e-6)


def test_stage_2_sees_contrast_to_the_liver_and_nothing_outside_it() -> None:
    hu = np.array([[[-100, 110, 160, 85]]], dtype=np.int16)
    region = liver_region(LABELS, 2)
    zero = find_hu_offset(hu, region, WINDOW)
    assert zero == 110
    np.testing.assert_allclose(network_input(hu, region, WINDOW, zero), [[[0, 0, 1, -0.5]]], rtol=0, atol=1e-6)
    assert liver_region(LABELS, 1) is None


def test_enhancement_of_the_whole_liver_changes_nothing_in_stage_2() -> None:
    hu = np.random.default_rng(3).integers(60, 150, (4, 5, 6)).astype(np.int16)
    region = np.random.default_rng(4).random((4, 5, 6)) < 0.7
    seen = [network_input(x, region, WINDOW, find_hu_offset(x, region, WINDOW)) for x in (hu, hu + np.int16(30))]
    np.testing.assert_array_equal(*seen)


def test_without_a_liver_zero_is_the_low_end_of_the_window() -> None:
    hu = np.full((1, 1, 4), 100, dtype=np.int16)
    assert find_hu_offset(hu, np.zeros((1, 1, 4), dtype=bool), WINDOW) == WINDOW[0]


@pytest.mark.parametrize(("stage", "expected"), [(1, [0, 1, 1, 1]), (2, [0, 0, 1, 2])])
def test_targets_are_indices_into_the_classes(stage: int, expected: list[int]) -> None:
    target = network_target(LABELS, stage)
    np.testing.assert_array_equal(target[0, 0], expected)
    assert target.max() == len(CLASSES[stage]) - 1


def test_classes_are_named_for_every_stage() -> None:
    assert CLASSES == {1: ("background", "liver"), 2: ("background", "vessel", "tumor")}
    assert tuple(CLASSES) == STAGES


@pytest.mark.parametrize("stage", [0, 3, "2", True, None])
def test_other_stages_are_refused(stage: object) -> None:
    labels = np.zeros((2, 3, 4), np.uint8)
    preparation = Preparation((-160.0, 240.0), StageGrid(8, 1.0), StageGrid(8, 1.0), 5.0)
    for use in (
        lambda: liver_region(labels, stage),
        lambda: network_target(labels, stage),
        lambda: preparation.view(stage),
    ):
        with pytest.raises(InputError, match=f"^stage: expected 1, 2; got {stage!r}; give one of these$"):
            use()
