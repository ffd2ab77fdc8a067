"""Metrics: against brute force, on masks with a known answer, and what holds for any masks."""

from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import cdist
from skimage.morphology import skeletonize

from ltvs.evaluation.metrics import cldice, dice, hd95, iou

SPACING = (2.0, 0.7, 0.9)
OVERLAPS = [dice, iou, cldice]
SHAPE = (5, 7, 9)


def random_mask(seed: int, shape: tuple[int, ...] = SHAPE, share: float = 0.3) -> np.ndarray:
    return np.random.default_rng(seed).random(shape) < share


def box(*slices: slice | int, shape: tuple[int, ...] = (11, 13, 30)) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[slices] = True
    return mask


def voxels(mask: np.ndarray) -> set[tuple[int, ...]]:
    return {index for index in np.ndindex(mask.shape) if mask[index]}


def surface(mask: np.ndarray) -> np.ndarray:
    """Voxels with one of six neighbors outside, in mm; voxel by voxel."""
    inside = voxels(mask)
    steps = [tuple(sign * row) for row in np.eye(3, dtype=int) for sign in (-1, 1)]
    found = [v for v in inside if any(tuple(np.add(v, step)) not in inside for step in steps)]
    return np.multiply(found, SPACING)


def quantile(values: np.ndarray, q: float) -> float:
    """Between the two order statistics around q, linearly."""
    ordered = sorted(values)
    place = q * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("share", [0.02, 0.3, 0.9])
def test_brute_force(seed: int, share: float) -> None:
    p, r = random_mask(seed, share=0.25), random_mask(seed + 100, share=share)
    in_p, in_r = voxels(p), voxels(r)
    assert dice(p, r) == pytest.approx(2 * len(in_p & in_r) / (len(in_p) + len(in_r)), rel=1e-15)
    assert iou(p, r) == pytest.approx(len(in_p & in_r) / len(in_p | in_r), rel=1e-15)
    distances = cdist(surface(p), surface(r))
    expected = max(quantile(distances.min(axis=1), 0.95), quantile(distances.min(axis=0), 0.95))
    # MONAI keeps distances and the place of the quantile among them, at most their number, in float32.
    error = float(np.finfo(np.float32).eps) * max(distances.shape) * distances.max()
    assert hd95(p, r, SPACING) == pytest.approx(expected, rel=0, abs=error)


def test_hausdorff_of_two_voxels_is_their_distance_in_mm() -> None:
    assert hd95(box(2, 3, 4), box(5, 7, 6), SPACING) == pytest.approx(np.hypot(3 * 2.0, np.hypot(4 * 0.7, 2 * 0.9)))


def test_hausdorff_forgives_five_percent() -> None:
    line, stray = box(5, 6, slice(0, 30)), box(0, 0, 0)
    assert hd95(line | stray, line, SPACING) == 0
    assert hd95(line | stray | box(10, 12, 29), line, SPACING) > 0


def test_hausdorff_measures_between_surfaces() -> None:
    # The inner cube ends 2 voxels below the outer one's top along d and on the same planes elsewhere.
    outer, inner = box(slice(2, 9), slice(3, 5), slice(3, 5)), box(slice(2, 7), slice(3, 5), slice(3, 5))
    assert hd95(outer, inner, SPACING) == 2 * 2.0


@pytest.mark.parametrize("axis", range(3))
def test_cldice_of_a_tube_is_that_of_its_centreline(axis: int) -> None:
    tube, line = box(slice(4, 7), slice(5, 8), slice(2, 28)), box(5, 6, slice(2, 28))
    tube, line, half = (np.moveaxis(mask, 2, axis) for mask in (tube, line, box(5, 6, slice(2, 15))))
    assert cldice(line, tube) == 1
    assert dice(line, tube) == pytest.approx(2 * 26 / (26 + 9 * 26))
    # All of the half lies in the tube, 13 of the tube's 26 centreline voxels in the half.
    assert cldice(half, tube) == pytest.approx(2 * 1 * 0.5 / (1 + 0.5))


def test_cldice_of_a_false_vessel() -> None:
    vessel = box(5, 6, slice(0, 30))
    other = box(5, slice(8, 13), 14)
    # The skeleton of lines one voxel wide is the lines: 30 of 35 voxels right, none missed.
    assert cldice(vessel | other, vessel) == pytest.approx(2 * (30 / 35) / (30 / 35 + 1))


@pytest.mark.parametrize("width", [2, 4, 6])
def test_cldice_of_pieces_that_thinning_erases(width: int) -> None:
    piece = box(slice(3, 3 + width), slice(5, 5 + width), slice(3, 3 + width + 1))
    assert not skeletonize(piece).any(), "scikit-image mends its issue 3757: the detour can go"
    line = box(1, 1, slice(0, 9))
    assert cldice(piece, piece) == 1
    # The piece counts as one voxel beside the line's nine.
    assert cldice(line | piece, line) == pytest.approx(2 * 0.9 / (0.9 + 1))


def test_cldice_of_tubes_apart_is_zero() -> None:
    assert cldice(box(2, 6, slice(0, 30)), box(8, 6, slice(0, 30))) == 0


@pytest.mark.parametrize("metric", OVERLAPS)
def test_empty_masks(metric: Any) -> None:
    empty, full = np.zeros(SHAPE, bool), random_mask(0)
    assert metric(empty, empty) is None
    assert metric(full, empty) == 0
    assert metric(empty, full) == 0


def test_no_distance_to_an_empty_mask() -> None:
    empty, full = np.zeros(SHAPE, bool), random_mask(0)
    for p, r in product((empty, full), repeat=2):
        assert (hd95(p, r, SPACING) is None) == (p is empty or r is empty)


@pytest.mark.parametrize("metric", [*OVERLAPS, lambda p, r: hd95(p, r, SPACING)])
@pytest.mark.parametrize("other", [random_mask(1, (5, 7, 1)), random_mask(1).astype(np.uint8)])
def test_what_are_not_two_masks(metric: Any, other: np.ndarray) -> None:
    for masks in ((random_mask(0), other), (other, random_mask(0))):
        with pytest.raises(ValueError, match=r": expected two boolean masks of one shape; got \w+ \(5, 7"):
            metric(*masks)


drawn = st.tuples(
    st.permutations([3, 4, 6]),
    st.integers(0, 2**32 - 1),
    st.sampled_from([0.03, 0.3, 0.8, 1.0]),
    st.sampled_from([0.03, 0.3, 0.8]),
)


@given(drawn)
def test_properties(drawn: tuple[list[int], int, float, float]) -> None:
    shape, seed, share_p, share_r = drawn
    p, r = random_mask(seed, tuple(shape), share_p), random_mask(seed + 1, tuple(shape), share_r)
    for metric in OVERLAPS:
        value = metric(p, r)
        assert value == metric(r, p)
        assert value is None or 0 <= value <= 1
        assert metric(p, p) == (1 if p.any() else None)
    distance = hd95(p, r, SPACING)
    assert distance == hd95(r, p, SPACING)
    assert distance is None or 0 <= distance <= np.linalg.norm(np.multiply(shape, SPACING))
    assert hd95(p, p, SPACING) == (0 if p.any() else None)


@given(drawn)
def test_room_around_the_masks_changes_nothing(drawn: tuple[list[int], int, float, float]) -> None:
    shape, seed, share_p, share_r = drawn
    p, r = random_mask(seed, tuple(shape), share_p), random_mask(seed + 1, tuple(shape), share_r)
    wide_p, wide_r = (np.pad(mask, ((1, 4), (3, 0), (2, 5))) for mask in (p, r))
    for metric in (*OVERLAPS, lambda p, r: hd95(p, r, SPACING)):
        assert metric(wide_p, wide_r) == metric(p, r)
