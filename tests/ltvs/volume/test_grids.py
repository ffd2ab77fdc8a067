"""Grids: canonical orientation, field of view, liver box; all through physical space."""

import json
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given
from hypothesis import strategies as st

from ltvs.runtime.errors import InputError
from ltvs.volume.grids import Grid, bounding_box, canonical_grid, crop_grid, liver_grid, overlap, sound_grid, whole_grid
from support.tiny_cases import OBLIQUE, SIGNED_PERMUTATIONS, ball, center, grid, image, indices, points

DIRECTIONS = [*SIGNED_PERMUTATIONS, *OBLIQUE]


def empty(where: Grid) -> sitk.Image:
    return where.place(sitk.Image(where.size, sitk.sitkUInt8))


def corners(where: Grid) -> tuple[np.ndarray, np.ndarray]:
    """The outer corners of the first and the last voxel, mm."""
    return where.physical(np.full(3, -0.5)), where.physical(np.array(where.size) - 0.5)


def test_a_grid_survives_json_and_images() -> None:
    where = grid(OBLIQUE[0])
    assert Grid.from_json(json.loads(json.dumps(where.json()))) == where
    assert Grid.of(empty(where)) == where


def test_index_undoes_physical_and_agrees_with_simpleitk() -> None:
    where, index = grid(OBLIQUE[1]), (3, 7, 2)
    np.testing.assert_allclose(where.physical(index), empty(where).TransformIndexToPhysicalPoint(index))
    np.testing.assert_allclose(where.index(where.physical((1.25, -4, 9))), (1.25, -4, 9), atol=1e-9)


def test_corners_are_those_of_simpleitk() -> None:
    where = grid(OBLIQUE[2])
    ends = product(*((-0.5, n - 0.5) for n in where.size))
    expected = [empty(where).TransformContinuousIndexToPhysicalPoint(index) for index in ends]
    np.testing.assert_allclose(where.corners(edge=0.5), expected, atol=1e-9)


def test_an_image_of_another_size_cannot_be_placed() -> None:
    with pytest.raises(ValueError, match=r"expected an image of size \(28, 25, 21\)"):
        grid().place(sitk.Image(28, 25, 20, sitk.sitkUInt8))


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_canonical_is_what_simpleitk_makes_of_it(direction: np.ndarray) -> None:
    ours = canonical_grid(grid(direction))
    theirs = Grid.of(sitk.DICOMOrient(empty(grid(direction)), "LPS"))
    assert ours.size == theirs.size
    for name in ("spacing", "origin", "direction"):
        np.testing.assert_allclose(getattr(ours, name), getattr(theirs, name), atol=1e-9)


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize(("pixels", "slice_spacing"), [(30, 1.0), (11, 3.7)])
def test_the_whole_grid_has_the_field_of_view_of_the_ct(
    direction: np.ndarray, pixels: int, slice_spacing: float
) -> None:
    ct = canonical_grid(grid(direction))
    whole = whole_grid(empty(grid(direction)), pixels, slice_spacing)
    assert whole.size[:2] == (pixels, pixels)
    assert whole.spacing[2] == slice_spacing
    assert whole.direction == ct.direction
    low, high = (ct.index(corner) for corner in corners(whole))
    np.testing.assert_allclose(low[:2], -0.5, atol=1e-9)
    np.testing.assert_allclose(high[:2], np.array(ct.size[:2]) - 0.5, atol=1e-9)
    beyond = np.array([-0.5 - low[2], high[2] - (ct.size[2] - 0.5)]) * ct.spacing[2]
    assert beyond.min() > -1e-6, "slices at the ends are covered"
    assert beyond.max() < slice_spacing / 2, "and no slice lies outside"
    assert beyond[0] == pytest.approx(beyond[1], abs=1e-9)


def test_a_length_that_slices_divide_needs_no_extra_slice() -> None:
    where = Grid((4, 5, 119), (0.7, 0.7, 1.6000000238), (0, 0, 0), tuple(np.eye(3).ravel()))
    assert whole_grid(empty(where), 8, 0.8).size == (8, 8, 238)
    assert whole_grid(empty(where), 8, 1.0).size == (8, 8, 191)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_the_liver_box_is_square_and_keeps_its_margin(direction: np.ndarray) -> None:
    where = grid(direction)
    mask = ball(where, np.add(center(where), (3, -2, 1)), 9)
    box = liver_grid(image(mask.astype(np.uint8), where), 16, 1.5, margin=4)
    assert box.size[:2] == (16, 16)
    assert box.spacing[0] == pytest.approx(box.spacing[1])
    assert box.spacing[2] == 1.5
    inside = np.argwhere(mask)[:, None, ::-1] + np.array(list(product((-0.5, 0.5), repeat=3)))
    index = indices(box, where.origin + (inside * where.spacing) @ np.reshape(where.direction, (3, 3)).T).reshape(-1, 3)
    gap_low = (index.min(axis=0) + 0.5) * box.spacing
    gap_high = (np.array(box.size) - 0.5 - index.max(axis=0)) * box.spacing
    np.testing.assert_allclose(gap_low, gap_high, atol=1e-6)
    assert gap_low.min() > 4 - 1e-6
    assert min(gap_low[:2]) == pytest.approx(4)
    assert gap_low[2] < 4 + 1.5 / 2


def test_a_liver_box_may_leave_the_ct() -> None:
    mask = np.zeros((21, 25, 28), dtype=np.uint8)
    mask[0, 0, 0] = 1
    box = liver_grid(image(mask, grid()), 8, 2.0, margin=10)
    np.testing.assert_allclose(center(box), grid().origin, atol=1e-6)
    assert box.size == (8, 8, 11)


def test_an_empty_liver_is_refused() -> None:
    with pytest.raises(InputError, match="no liver: expected a mask with voxels above 0"):
        liver_grid(empty(grid()), 8, 1.0, 10.0)


def test_the_box_of_labels() -> None:
    labels = np.zeros((21, 25, 28), dtype=np.uint8)
    assert bounding_box(image(labels, grid())) is None
    labels[4:9, 11, 6:20] = 2
    labels[7, 3, 10] = 1
    assert bounding_box(image(labels, grid())) == ((6, 3, 4), (19, 11, 8))


@pytest.mark.parametrize("direction", OBLIQUE)
def test_the_overlap_holds_every_voxel_within(direction: np.ndarray) -> None:
    target = grid(direction)
    small = Grid((7, 6, 5), (2.0, 1.5, 3.0), tuple(center(target)), tuple(np.eye(3).ravel()))
    first, size = overlap(small, target)
    part = crop_grid(target, first, size)
    assert part.physical((0, 0, 0)) == pytest.approx(target.physical(first))
    assert np.all(np.array(size) < target.size)
    half = np.array(small.size) / 2
    within = np.all(np.abs(indices(small, points(target)) + 0.5 - half) <= half, axis=-1)
    inside = np.argwhere(within)[:, ::-1]
    assert len(inside) > 50
    assert np.all(np.min(inside, axis=0) >= first)
    assert np.all(np.max(inside, axis=0) < np.add(first, size))


def test_grids_apart_do_not_overlap() -> None:
    far = Grid((3, 4, 5), (1.0, 1.0, 1.0), (500.0, 12.5, 140.0), tuple(np.eye(3).ravel()))
    assert 0 in overlap(far, grid())[1]


def affine(direction: np.ndarray, spacing: tuple[float, float, float] = (1.3, 1.5, 2.0)) -> np.ndarray:
    made = np.eye(4)
    made[:3, :3], made[:3, 3] = direction * spacing, (-31.0, 12.5, 140.0)
    return made


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_a_sound_grid_is_that_of_its_map(direction: np.ndarray) -> None:
    where = sound_grid(Path("x"), (28, 25, 21), affine(direction))
    assert where.size == (28, 25, 21)
    np.testing.assert_allclose(where.physical((3, 5, 7)), (affine(direction) @ (3, 5, 7, 1))[:3], rtol=1e-12)
    if set(direction.ravel()) == {0, 1}:
        assert where.direction == tuple(direction.ravel()), "what is exact stays exact"


@given(st.integers(0, 2**32 - 1), st.sampled_from(DIRECTIONS))
def test_axes_that_rounding_skewed_become_perpendicular_and_hardly_move(seed: int, direction: np.ndarray) -> None:
    noise = np.random.default_rng(seed).uniform(-1.5e-4, 1.5e-4, (3, 3))
    where = sound_grid(Path("x"), (512, 512, 512), affine(direction + noise))
    axes = np.reshape(where.direction, (3, 3))
    np.testing.assert_allclose(axes.T @ axes, np.eye(3), atol=1e-12)
    given_axes = (direction + noise) / np.linalg.norm(direction + noise, axis=0)
    assert np.abs(axes - given_axes).max() <= 2.5e-4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"spacing": (1.3, 1.5, 0)}, "x: expected voxels of 0.01 to 100 mm at a finite place, got 1.3 x 1.5 x 0 mm at"),
        ({"spacing": (1.3, 1.5, 101)}, "got 1.3 x 1.5 x 101 mm"),
        ({"spacing": (1.3, 0.009, 2)}, "got 1.3 x 0.009 x 2 mm"),
        ({"spacing": (np.nan, 1.5, 2)}, "got nan x 1.5 x 2 mm"),
        (
            {"direction": np.eye(3) + 2e-3 * np.eye(3)[[1, 2, 0]]},
            "x: expected axes at right angles, got a cosine of 0.002",
        ),
    ],
)
def test_a_map_that_is_of_no_ct(change: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        sound_grid(Path("x"), (28, 25, 21), affine(**({"direction": np.eye(3)} | change)))


@pytest.mark.parametrize(
    ("place", "message"), [(np.inf, "at a finite place"), (1.1e5, "within 100 m of the scanner's")]
)
def test_a_place_where_no_ct_is(place: float, message: str) -> None:
    made = affine(np.eye(3))
    made[1, 3] = place
    with pytest.raises(InputError, match=message):
        sound_grid(Path("x"), (28, 25, 21), made)
