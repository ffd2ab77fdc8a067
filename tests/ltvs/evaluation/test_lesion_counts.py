"""Lesions counted one by one."""

from itertools import product

import numpy as np
import pytest

from ltvs.evaluation.lesion_counts import DIAMETERS, SIZES, LesionCounts, count_lesions_by_size
from ltvs.measurement.diameters import axial_diameters
from ltvs.volume.grids import Grid
from support.solids import OBLIQUE, SAGITTAL, UPRIGHT


def masks() -> tuple[np.ndarray, np.ndarray]:
    """Return a prediction and a reference: one lesion in both, one touched, one missed, and two false alarms."""
    prediction, reference = np.zeros((2, 9, 10, 30), dtype=bool)
    reference[1:5, 1:5, 1:5] = prediction[1:5, 1:5, 2:6] = True
    reference[1:5, 1:5, 10:15] = True
    prediction[4:8, 4:8, 14:18] = True
    reference[1:3, 6:9, 20:22] = True
    prediction[0, 0, 28] = prediction[8, 9, 29] = True
    return prediction, reference


def grid_of(mask: np.ndarray, x: float) -> Grid:
    d, h, w = mask.shape
    return Grid((w, h, d), (x, 0.1, 3.0), (0, 0, 0), (1, 0, 0, 0, 1, 0, 0, 0, 1))


def count(prediction: np.ndarray, reference: np.ndarray) -> LesionCounts:
    """Return the lesions of all sizes; some are below 10 mm, some not."""
    return sum(count_lesions_by_size(prediction, reference, grid_of(reference, 4.0)).values(), LesionCounts())


def test_a_touch_is_no_hit() -> None:
    counts = count(*masks())
    assert counts == LesionCounts(reference=3, found=1, predicted=4, confirmed=1)
    assert (counts.recall, counts.precision) == (1 / 3, 1 / 4)
    assert (counts.missed, counts.false) == (2, 3)


def row(*lengths: int) -> np.ndarray:
    """Return rows of so many voxels, side by side along x and apart along y."""
    mask = np.zeros((1, 2 * len(lengths), 40), dtype=bool)
    for y, length in enumerate(lengths):
        mask[0, 2 * y, :length] = True
    return mask


def test_both_ends_of_the_middle_size_belong_to_it() -> None:
    """Rows along x whose diameter is their length in voxels, times the spacing of 0.7 or of 1 mm."""
    reference = row(9, 10, 20, 21)
    assert count_lesions_by_size(row(0, 10, 20, 0), reference, grid_of(reference, 1.0)) == {
        "under_10_mm": LesionCounts(1, 0, 0, 0),
        "10_to_20_mm": LesionCounts(2, 2, 2, 2),
        "over_20_mm": LesionCounts(1, 0, 0, 0),
    }
    counts = count_lesions_by_size(reference, reference, grid_of(reference, 0.7))
    assert [of.reference for of in counts.values()] == [2, 2, 0]


@pytest.mark.parametrize("direction", [UPRIGHT.direction, SAGITTAL.direction, OBLIQUE.direction])
def test_lesions_of_about_ten_millimeters(direction: tuple[float, ...]) -> None:
    """Blocks of 3 to 13 mm in any orientation: those whose box is small are not measured, and the size is the same."""
    sizes = list(product((2, 6), (2, 5, 8), (1, 3)))
    for w, h, d in sizes:
        grid = Grid((w, h, d), (1.2, 1.3, 1.4), (3, -4, 5), direction)
        block = np.ones((d, h, w), dtype=bool)
        small, large = DIAMETERS
        longest = axial_diameters(block, grid)[0]
        expected = SIZES[0] if longest < small else SIZES[1] if longest <= large else SIZES[2]
        assert count_lesions_by_size(block, block, grid)[expected] == LesionCounts(1, 1, 1, 1)


def test_each_map_has_its_own_diameters() -> None:
    """A lesion of 25 mm, of which 5 mm are predicted, is a large one that is found, and a small one is confirmed."""
    reference, prediction = row(25, 0), row(5, 30)
    assert count_lesions_by_size(prediction, reference, grid_of(reference, 1.0)) == {
        "under_10_mm": LesionCounts(0, 0, 1, 1),
        "10_to_20_mm": LesionCounts(),
        "over_20_mm": LesionCounts(1, 1, 1, 0),
    }


@pytest.mark.parametrize(("voxels", "found"), [(3, True), (2, False)])
def test_a_tenth_is_enough(voxels: int, found: bool) -> None:
    """3 voxels of 30 are a tenth."""
    assert count(row(voxels), row(30)).found == found


def test_voxels_that_share_a_corner_belong_together() -> None:
    mask = np.zeros((3, 3, 3), dtype=bool)
    mask[0, 0, 0] = mask[1, 1, 1] = True
    assert count(mask, mask) == LesionCounts(1, 1, 1, 1)


def test_nothing_to_count() -> None:
    nothing = np.zeros((2, 3, 4), dtype=bool)
    counts = count(nothing, nothing)
    assert counts == LesionCounts()
    assert counts.recall is None
    assert counts.precision is None


def test_counts_add_up() -> None:
    assert LesionCounts(1, 2, 3, 4) + LesionCounts(10, 20, 30, 40) == LesionCounts(11, 22, 33, 44)


def test_masks_of_two_grids() -> None:
    two = np.zeros((1, 2, 3), dtype=bool), np.zeros((3, 2, 1), dtype=bool)
    said = r"count_lesions_by_size: expected masks of one shape; got \(1, 2, 3\) and \(3, 2, 1\)"
    with pytest.raises(ValueError, match=said):
        count_lesions_by_size(*two, grid_of(two[0], 1.0))
