"""Resampling: nothing moves, nothing leaks in from outside, and labels come back where they were."""

import numpy as np
import pytest
import SimpleITK as sitk
from scipy.ndimage import map_coordinates

from ltvs.volume.grids import Grid, canonical_grid, liver_grid, whole_grid
from ltvs.volume.images import same_grid
from ltvs.volume.resampling import resample_image, resample_labels, restore_probabilities
from support.tiny_cases import OBLIQUE, SIGNED_PERMUTATIONS, ball, center, grid, image, indices, points

WIDE = (-3000.0, 3000.0)
IDENTITY = tuple(np.eye(3).ravel().tolist())


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


def one_hot(labels: np.ndarray, classes: int = 4) -> np.ndarray:
    return np.stack([labels == k for k in range(classes)]).astype(np.float32)


def inside(where: Grid, reference: Grid, rim: float) -> np.ndarray:
    """Voxels of `where` that lie in `reference` by at least `rim` of its voxels, (d, h, w)."""
    index = indices(reference, points(where))
    return np.all((index >= rim - 0.5) & (index <= np.array(reference.size) - 0.5 - rim), axis=-1)


@pytest.mark.parametrize("direction", [SIGNED_PERMUTATIONS[0], SIGNED_PERMUTATIONS[29], *OBLIQUE])
@pytest.mark.parametrize(("pixels", "slice_spacing"), [(41, 1.1), (19, 2.9), (9, 7.0)])
def test_a_slope_in_space_stays_where_it_is(direction: np.ndarray, pixels: int, slice_spacing: float) -> None:
    """Finer, coarser, and so coarse that voxels are averaged first."""
    slope = np.array([11.0, -7.0, 5.0])
    ct = image(np.round((points(grid(direction)) - center(grid(direction))) @ slope).astype(np.int16), grid(direction))
    target = whole_grid(ct, pixels, slice_spacing)
    resampled = sitk.GetArrayFromImage(resample_image(ct, target, WIDE))
    expected = (points(target) - center(grid(direction))) @ slope
    within = inside(target, canonical_grid(grid(direction)), rim=2.0)
    assert within.sum() > 20
    assert np.abs(resampled - expected)[within].max() < 1.6


def test_the_window_clips_before_interpolation_and_fills_outside() -> None:
    hu = np.zeros((2, 3, 4), dtype=np.int16)
    hu[:, :, 2:] = 1000
    ct = image(hu, Grid((4, 3, 2), (2.0, 2.0, 2.0), (0, 0, 0), IDENTITY))
    line = Grid((6, 1, 1), (1.0, 1.0, 1.0), (1.0, 2.0, 1.0), IDENTITY)
    result = resample_image(ct, line, (-100.0, 100.0))
    assert result.GetPixelID() == sitk.sitkInt16
    np.testing.assert_array_equal(sitk.GetArrayFromImage(result).ravel(), [0, 0, 50, 100, 100, 100])
    beyond = Grid((3, 1, 1), (2.0, 1.0, 1.0), (6.0, 2.0, 1.0), IDENTITY)
    np.testing.assert_array_equal(
        sitk.GetArrayFromImage(resample_image(ct, beyond, (-100.0, 100.0))).ravel(), [100, -100, -100]
    )


def test_hu_are_rounded_not_cut() -> None:
    ct = image(np.array([[[-11, -10]]], dtype=np.int16), Grid((2, 1, 1), (1.0, 1.0, 1.0), (0, 0, 0), IDENTITY))
    at = Grid((1, 1, 1), (1.0, 1.0, 1.0), (0.2, 0.0, 0.0), IDENTITY)
    assert sitk.GetArrayFromImage(resample_image(ct, at, WIDE)).item() == -11


def test_much_coarser_grids_average_the_noise_away() -> None:
    noise = np.random.default_rng(0).normal(0, 100, (24, 36, 40)).astype(np.int16)
    ct = image(noise, Grid((40, 36, 24), (1.0, 1.0, 1.0), (0, 0, 0), IDENTITY))
    coarse = sitk.GetArrayFromImage(resample_image(ct, whole_grid(ct, 10, 4.0), WIDE))
    assert coarse.std() < 1.5 * 100 / np.sqrt(4 * 3.6 * 4)


def test_labels_on_their_own_grid_are_the_same() -> None:
    labels = np.random.default_rng(0).integers(0, 4, (21, 25, 28)).astype(np.uint8)
    result = resample_labels(image(labels, grid()), grid())
    assert result.GetPixelID() == sitk.sitkUInt8
    assert same_grid(result, image(labels, grid()))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(result), labels)


def test_labels_reach_the_edge_of_the_ct_and_stop_there() -> None:
    labels = image(np.full((4, 5, 6), 2, dtype=np.uint8), Grid((6, 5, 4), (1.0, 1.2, 2.0), (0, 0, 0), IDENTITY))
    assert sitk.GetArrayFromImage(resample_labels(labels, whole_grid(labels, 13, 0.5))).min() == 2
    box = liver_grid(labels, 20, 1.0, margin=3.0)
    resampled = sitk.GetArrayFromImage(resample_labels(labels, box))
    np.testing.assert_array_equal(resampled == 2, inside(box, Grid.of(labels), rim=0.0))


def test_labels_that_are_all_background_or_out_of_reach() -> None:
    empty = image(np.zeros((21, 25, 28), dtype=np.uint8), grid())
    assert not sitk.GetArrayFromImage(resample_labels(empty, whole_grid(empty, 12, 3.0))).any()
    far = Grid((3, 4, 5), (1.0, 1.0, 1.0), (500.0, 0.0, 0.0), IDENTITY)
    full = sitk.GetArrayFromImage(resample_labels(empty + 1, far))
    assert full.shape == (5, 4, 3)
    assert not full.any()


def test_the_largest_share_wins_without_reaching_a_half() -> None:
    labels = image(
        np.array([[[1, 3], [0, 3]], [[2, 3], [0, 0]]], dtype=np.uint8), Grid((2, 2, 2), (1, 1, 1), (0, 0, 0), IDENTITY)
    )
    middle = Grid((1, 1, 1), (1.0, 1.0, 1.0), (0.5, 0.5, 0.5), IDENTITY)
    assert sitk.GetArrayFromImage(resample_labels(labels, middle)).item() == 0, "3 of 8 each: background stays"
    nearer = Grid((1, 1, 1), (1.0, 1.0, 1.0), (0.55, 0.5, 0.5), IDENTITY)
    assert sitk.GetArrayFromImage(resample_labels(labels, nearer)).item() == 3, "41% tumor, 39% background"


@pytest.mark.parametrize("direction", [*SIGNED_PERMUTATIONS, *OBLIQUE])
@pytest.mark.parametrize("stage", [1, 2])
def test_a_landmark_comes_back_within_half_a_voxel(direction: np.ndarray, stage: int) -> None:
    where = grid(direction)
    landmark = np.add(center(where), (4.3, -5.1, 6.2))
    labels = ball(where, center(where), 13).astype(np.uint8)
    labels[ball(where, landmark, 4.5)] = 3
    volume = image(labels, where)
    target = whole_grid(volume, 31, 1.0) if stage == 1 else liver_grid(volume, 29, 1.0, 5.0)
    prepared = sitk.GetArrayFromImage(resample_labels(volume, target))
    truth = points(where)[labels == 3].mean(axis=0)
    assert np.abs(points(target)[prepared == 3].mean(axis=0) - truth).max() < 0.25
    restored = restore_probabilities(one_hot(prepared), target, where)
    assert same_grid(restored, volume)
    back = sitk.GetArrayFromImage(restored)
    assert np.abs(points(where)[back == 3].mean(axis=0) - truth).max() < 0.25
    assert dice(back > 0, labels > 0) > 0.95
    assert dice(back == 3, labels == 3) > 0.9


@pytest.mark.parametrize("direction", [SIGNED_PERMUTATIONS[0], SIGNED_PERMUTATIONS[17], OBLIQUE[2]])
def test_restoring_agrees_with_scipy(direction: np.ndarray) -> None:
    """On random maps and more slices than are restored at a time; outside the grid it is class 0."""
    target = grid(direction, size=(9, 8, 71))
    middle = target.physical((4, 4, 40))
    source = Grid((12, 11, 10), (0.9, 0.8, 4.1), tuple(middle - (5, 4, 22)), IDENTITY)
    probabilities = np.random.default_rng(0).dirichlet([1, 1, 1], size=source.size[::-1])
    probabilities = np.ascontiguousarray(np.moveaxis(probabilities, -1, 0), dtype=np.float32)
    restored = sitk.GetArrayFromImage(restore_probabilities(probabilities, source, target))
    index = indices(source, points(target))
    coordinates = np.moveaxis(index, -1, 0)[::-1]
    shares = np.stack([map_coordinates(p, coordinates, order=1, mode="nearest") for p in probabilities])
    expected = np.where(inside(target, source, rim=0.0), shares.argmax(axis=0), 0)
    assert 0.05 < inside(target, source, rim=0.0).mean() < 0.95
    np.testing.assert_array_equal(restored, expected)


def test_a_grid_beside_the_ct_restores_to_background() -> None:
    far = Grid((3, 4, 5), (1.0, 1.0, 1.0), (500.0, 0.0, 0.0), IDENTITY)
    probabilities = np.zeros((2, 5, 4, 3), dtype=np.float32)
    probabilities[1] = 1
    restored = restore_probabilities(probabilities, far, grid())
    assert restored.GetSize() == (28, 25, 21)
    assert not sitk.GetArrayFromImage(restored).any()
