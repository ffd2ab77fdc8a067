"""Distances between shapes of voxels."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ltvs.measurement.gaps import Neighbor

SPACING = (2.5, 0.7, 0.9)


def between_boxes(a: np.ndarray, b: np.ndarray) -> float:
    """Return the distance between two voxels as boxes, by definition."""
    low, high = (np.array([voxel - 0.5, voxel + 0.5]) * SPACING for voxel in (a, b))
    return float(np.linalg.norm(np.maximum(0, np.maximum(high[0] - low[1], low[0] - high[1]))))


@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(1, 7), st.integers(1, 8), st.floats(0.01, 0.6))
def test_brute_force(seed: int, d: int, h: int, w: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    mask = rng.random((d, h, w)) < share
    mask.flat[rng.integers(mask.size)] = True
    voxels = np.argwhere(np.ones_like(mask))
    neighbor = Neighbor.of(mask, SPACING)
    assert neighbor is not None
    expected = [min(between_boxes(voxel, other) for other in np.argwhere(mask)) for voxel in voxels]
    assert [neighbor.distance(voxel[None]) for voxel in voxels] == pytest.approx(expected, abs=1e-12)


@given(st.integers(0, 2**32 - 1), st.integers(1, 400), st.integers(1, 30), st.integers(0, 9))
def test_of_many_voxels_the_nearest_counts(seed: int, count: int, others: int, off: int) -> None:
    """Wherever in the list it is: most are compared with the nearest of every 64th."""
    rng = np.random.default_rng(seed)
    mask = np.zeros((9, 12, 40), dtype=bool)
    mask[tuple(rng.integers(0, (9, 12, 15), (others, 3)).T)] = True
    voxels = rng.integers((0, 0, 15 + off), (9, 12, 40), (count, 3))
    neighbor = Neighbor.of(mask, SPACING)
    assert neighbor is not None
    gaps = np.maximum(np.abs(voxels[:, None] - np.argwhere(mask)) - 1, 0) * SPACING
    assert neighbor.distance(voxels) == pytest.approx(np.linalg.norm(gaps, axis=-1).min(), abs=1e-12)
    assert neighbor.distance(voxels) == min(neighbor.distance(voxel[None]) for voxel in voxels)


def test_contact_is_zero() -> None:
    mask = np.zeros((5, 6, 7), dtype=bool)
    mask[2, 3, 4] = True
    neighbor = Neighbor.of(mask, SPACING)
    assert neighbor is not None
    around = np.add(list(product((-1, 0, 1), repeat=3)), (2, 3, 4))
    assert not any(neighbor.distance(voxel[None]) for voxel in around)
    apart = np.array([[0, 1, 4], [4, 3, 4], [2, 3, 6]])
    expected = [np.hypot(2.5, 0.7), 2.5, 0.9]
    assert [neighbor.distance(apart[: n + 1]) for n in range(3)] == pytest.approx(expected)
    assert neighbor.distance(np.concatenate([apart, around])) == 0


def test_nothing_to_measure_to() -> None:
    assert Neighbor.of(np.zeros((2, 3, 4), dtype=bool), SPACING) is None


@given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.integers(1, 6), st.integers(1, 7), st.floats(0.1, 9))
def test_places_within_a_limit(seed: int, d: int, h: int, w: int, limit: float) -> None:
    """Of points amid voxels and halfway between two, in and around the array, by the distance to every box."""
    rng = np.random.default_rng(seed)
    mask = rng.random((d, h, w)) < 0.2
    mask.flat[seed % mask.size] = True
    points = rng.integers(-1, (d + 1, h + 1, w + 1), (20, 3)).astype(float)
    points[np.arange(20), rng.integers(3, size=20)] += rng.choice((0, 0.5), 20)
    beyond = np.maximum(np.abs(points[:, None] - np.argwhere(mask)) - 0.5, 0) * SPACING
    distances = np.linalg.norm(beyond, axis=-1).min(axis=1)
    neighbor = Neighbor.of(mask, SPACING)
    assert neighbor is not None
    clear = np.abs(distances - limit) > 1e-5
    np.testing.assert_array_equal(neighbor.are_within(points, limit)[clear], (distances <= limit)[clear])
