"""The longest axial diameter and its perpendicular, of solids that have them by formula.

The error of an outline. At a point p, the value that is interpolated from the voxel centers X around it is the mean of
"X is inside" with weights that are products of one weight per axis, and whose mean of X is p. Where that is 0.5, the
median of the distance of X from a flat surface is 0. Mean and median differ by at most the standard deviation, and that
is at most half the spacing along each axis, so at most half the largest spacing in all: so far from the surface is p. A
surface with radius of curvature R departs from flat by at most d²/2R among centers that are at most the diagonal d of a
voxel apart. In slices that are axial as they are, only axes in the plane count. Oblique masks are sampled in steps of
half the smallest spacing, and an outline lies between two samples: by at most a step elsewhere.

Areas that touch in a corner, on oblique grids. The two empty voxels beside the corner count 0.25 there. Where the value
is 0.5 or more within a slice, the voxels of the mask have a weight of a third at least, so the place is at most two
thirds of the diagonal of a pixel from a place between their centers: that far, and a step, an outline reaches beyond
the centers at either end. A center itself has a sample of 0.5 or more within the diagonal of half a step, and so has
the outline. A tilt by an angle makes lengths in a slice longer by 1 / cos(angle) at most, and not shorter.
"""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage
from scipy.spatial.distance import pdist
from scipy.spatial.transform import Rotation

from ltvs.measurement.diameters import axial_diameters
from ltvs.volume.grids import Grid
from support.solids import GRIDS, OBLIQUE, UPRIGHT, diagonal, ellipsoid, shifted, tube

UPRIGHT_PLANE = Grid((40, 30, 1), (0.5, 0.7, 3.0), (0, 0, 0), (1, 0, 0, 0, 1, 0, 0, 0, 1))


def outline_error(grid: Grid, curvature: float) -> tuple[float, float]:
    """Return how far an outline is from the surface at most, and the nearest plane from a given one, mm."""
    if grid == OBLIQUE or grid.direction == OBLIQUE.direction:
        step = min(grid.spacing) / 2
        return max(grid.spacing) / 2 + diagonal(grid) ** 2 / (2 * curvature) + step, step / 2
    # The body axis is the third axis of one of the upright grids, and the second of the other; both have 0.8 and 0.9.
    to_head = int(np.abs(np.reshape(grid.direction, (3, 3))[2]).argmax())
    in_plane = np.delete(grid.spacing, to_head)
    return max(in_plane) / 2 + in_plane @ in_plane / (2 * curvature), grid.spacing[to_head] / 2


def reach(half_axes: tuple[float, float], angle: np.ndarray | float) -> np.ndarray:
    """Return half the diameter of an ellipse at an angle (radians) to its first axis."""
    a, b = half_axes
    return a * b / np.hypot(b * np.cos(angle), a * np.sin(angle))


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
@pytest.mark.parametrize("degrees", [0, 27, 131])
def test_ellipsoids(grid: Grid, degrees: int) -> None:
    """The section through the center has the half axes a and b; the longest axis, from foot to head, does not count."""
    a, b, c = 19.0, 11.0, 24.0
    place = np.random.default_rng(degrees).uniform(-0.5, 0.5, 3)
    grid = shifted(grid, place)
    longest, across = axial_diameters(ellipsoid(grid, (0, 0, 0), (a, b, c), degrees), grid)
    error, off = outline_error(grid, b**2 / c)
    # The nearest plane is `off` from the center, which shortens both axes.
    shorter = np.sqrt(1 - (off / c) ** 2)
    assert 2 * (a * shorter - error) <= longest <= 2 * (a + error)
    # What is found may be turned against the long axis, as far as that is not shorter than what is found at least.
    angles = np.linspace(0, np.pi / 2, 10_000)
    turned = angles[reach((a, b), angles) >= a * shorter - 2 * error].max()
    assert 2 * (b * shorter - error) <= across <= 2 * (reach((a, b), np.pi / 2 - turned) + error)


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
def test_a_tube_along_the_body_is_round(grid: Grid) -> None:
    """In the slices of the oblique grid, 35 degrees from axial, its section would be 20% longer than wide."""
    radius = 9.0
    found = axial_diameters(tube(grid, (1, 2, 0), (0, 0, 1), radius), grid)
    error, _ = outline_error(grid, radius)
    assert found == pytest.approx((2 * radius, 2 * radius), abs=2 * error)
    assert found[0] < 0.95 * 2 * radius / abs(np.reshape(OBLIQUE.direction, (3, 3))[2, 2])


@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.integers(1, 5), st.integers(1, 6))
def test_of_any_voxels(seed: int, d: int, h: int, w: int) -> None:
    """Not longer than the diagonal of the box of voxels, nor wider than long; turned in the plane, it stays."""
    mask = np.random.default_rng(seed).random((d, h, w)) < 0.6
    mask[0, 0, 0] = True
    upright = replace(UPRIGHT_PLANE, size=(w, h, d))
    longest, across = axial_diameters(mask, upright)
    rounding = 1 + 1e-9
    # An outline has the middles between each of its voxels and the four beside it in it, so a rhombus at least.
    assert across * rounding >= 0.5 * 0.7 / np.hypot(0.5, 0.7)
    assert across <= longest * rounding
    assert longest <= np.hypot(0.5 * w, 0.7 * h) * rounding
    turn = np.array([[0.6, -0.8, 0], [0.8, 0.6, 0], [0, 0, -1]])
    turned = replace(upright, direction=tuple(turn.ravel().tolist()))
    assert axial_diameters(mask, turned) == pytest.approx((longest, across))


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
def test_one_voxel(grid: Grid) -> None:
    longest, across = axial_diameters(np.ones((1, 1, 1), dtype=bool), replace(grid, size=(1, 1, 1)))
    assert 0 < across <= longest <= diagonal(grid)


def test_a_row_and_its_width() -> None:
    mask = np.zeros((1, 30, 40), dtype=bool)
    mask[0, 3, 5:25] = True
    assert axial_diameters(mask, UPRIGHT_PLANE) == pytest.approx((20 * 0.5, 0.7))


def test_pixels_that_share_a_corner_have_one_outline() -> None:
    mask = np.zeros((1, 30, 40), dtype=bool)
    mask[0, range(10), range(10)] = True
    longest, _ = axial_diameters(mask, UPRIGHT_PLANE)
    # Between the centers of the first and the last, and at most half a voxel more on both sides.
    between = 9 * np.hypot(0.5, 0.7)
    assert between < longest <= between + np.hypot(0.5, 0.7)


def tilted(mask: np.ndarray, degrees: float, about: float) -> Grid:
    """Return the grid of a mask whose slices of 5 mm are tilted about an axis in them, at an angle to its rows."""
    turn = np.radians(about)
    direction = Rotation.from_rotvec(np.radians(degrees) * np.array([np.cos(turn), np.sin(turn), 0])).as_matrix()
    d, h, w = mask.shape
    return Grid((w, h, d), (0.7, 0.8, 5.0), (3.0, -4.0, 5.0), tuple(direction.ravel().tolist()))


def between_centers(pixels: np.ndarray) -> float:
    """Return the longest distance between two pixels that others join through sides or corners, mm."""
    parts, count = ndimage.label(pixels, np.ones((3, 3)))
    return max(max(pdist(np.argwhere(parts == k) * (0.8, 0.7)), default=0.0) for k in range(1, count + 1))


def corner_bounds(between: float, degrees: float) -> tuple[float, float]:
    """Return the bounds of a diameter between centers of pixels, by what is said above."""
    step = 0.7 / 2
    longest = between + 2 * (2 / 3 * np.hypot(0.7, 0.8) + step)
    return between - np.sqrt(2) * step, longest / np.cos(np.radians(degrees))


BLOCKS, DIAGONAL = np.kron(np.eye(2), np.ones((6, 6))) > 0, np.eye(20) > 0


@pytest.mark.parametrize("pixels", [BLOCKS, DIAGONAL, DIAGONAL[::-1]], ids=["blocks", "diagonal", "other diagonal"])
@pytest.mark.parametrize("degrees", [0.1, 10])
@pytest.mark.parametrize("about", [0, 50, -50])
def test_a_tilt_parts_no_corner(pixels: np.ndarray, degrees: float, about: float) -> None:
    """Over 21 mm, a plane rises by 3.7 mm at most: it can stay between the centers of the first and the last slice."""
    mask = np.repeat(pixels[None], 3, axis=0)
    low, high = corner_bounds(between_centers(pixels), degrees)
    assert low <= axial_diameters(mask, tilted(mask, degrees, about))[0] <= high


@given(st.integers(0, 2**32 - 1), st.integers(1, 8), st.integers(1, 8), st.floats(0.1, 0.7), st.sampled_from((0.1, 10)))
def test_a_tilt_joins_and_parts_no_areas(seed: int, h: int, w: int, share: float, degrees: float) -> None:
    rng = np.random.default_rng(seed)
    pixels = rng.random((h, w)) < share
    pixels[rng.integers(h), rng.integers(w)] = True
    mask = np.repeat(pixels[None], 3, axis=0)
    low, high = corner_bounds(between_centers(pixels), degrees)
    assert low <= axial_diameters(mask, tilted(mask, degrees, rng.uniform(0, 360)))[0] <= high


@pytest.mark.parametrize("degrees", [10, 20, 40])
@pytest.mark.parametrize("slices", [1, 3])
def test_a_steep_tilt_leaves_the_slices_of_a_corner(degrees: float, slices: int) -> None:
    """0.1 slices beyond the center of the last one, the middle of a corner still has 0.9 x 0.625.

    What is above 0.5 is 2 (0.8 x 0.7 x (0.9 x 0.625 - 0.5) x 2 / 1.35)^(1/2) = 0.455 mm wide there, more than a step.
    So a plane has one outline as long as it is between there and the same place below the first slice, and of that, the
    diagonal of a step may be lost at either end.
    """
    mask = np.repeat(DIAGONAL[None], slices, axis=0)
    # The diagonal goes along (0.7, 0.8), across the axis of the tilt.
    found, _ = axial_diameters(mask, tilted(mask, degrees, np.degrees(np.arctan2(0.8, 0.7)) + 90))
    angle, between = np.radians(degrees), between_centers(DIAGONAL)
    within = min((slices - 1 + 0.2) * 5.0 / np.sin(angle), between / np.cos(angle))
    assert within - 2 * np.hypot(0.35, 0.35) <= found <= corner_bounds(between, degrees)[1]


def test_no_diameter_leads_from_one_area_to_another() -> None:
    """A horseshoe that stands upright: legs of 4 and 5 mm are apart in all planes but the last, which has 8 mm."""
    mask = np.zeros((4, 30, 40), dtype=bool)
    mask[:3, 3, 2:10] = mask[:3, 3, 20:30] = mask[3, 3, 12:28] = True
    assert axial_diameters(mask[:3], UPRIGHT_PLANE)[0] == pytest.approx(5.0)
    assert axial_diameters(mask, UPRIGHT_PLANE)[0] == pytest.approx(8.0)


def test_the_perpendicular_lies_in_the_plane_of_the_longest_diameter() -> None:
    """A row of 15 mm in one plane, and a square of 10 x 9.8 mm in the next."""
    mask = np.zeros((2, 30, 40), dtype=bool)
    mask[0, 3, 5:35] = mask[1, 3:17, 5:25] = True
    assert axial_diameters(mask, UPRIGHT_PLANE) == pytest.approx((15.0, 0.7))


def test_holes_do_not_count() -> None:
    mask = np.zeros((1, 30, 40), dtype=bool)
    mask[0, 3:23, 4:34] = True
    solid = axial_diameters(mask, UPRIGHT_PLANE)
    mask[0, 8:18, 14:24] = False
    assert axial_diameters(mask, UPRIGHT_PLANE) == solid


def test_a_large_oblique_lesion_takes_few_planes() -> None:
    """300 planes at most, so that steps are larger here than half a voxel."""
    fine = replace(OBLIQUE, spacing=(0.1, 0.1, 0.9), size=(161, 171, 19))
    mask = ellipsoid(fine, tuple(fine.physical((80, 85, 9)).tolist()), (7, 7, 7))
    step = np.linalg.norm((16.3, 17.3, 18.9)) / 300
    error = 0.45 + diagonal(fine) ** 2 / 14 + step
    assert axial_diameters(mask, fine)[0] == pytest.approx(14, abs=2 * error)


def test_upright_slices_are_not_interpolated() -> None:
    """A tilt of a thousandth, as files round it, is none."""
    tilted = replace(UPRIGHT, direction=(1, 0, 0, 0, 1, -0.0009, 0, 0.0009, 1))
    mask = ellipsoid(UPRIGHT, (0, 0, 0), (9, 8, 7))
    assert axial_diameters(mask, tilted) == axial_diameters(mask, UPRIGHT)
