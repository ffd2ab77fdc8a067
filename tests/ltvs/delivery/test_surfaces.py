"""Surfaces are closed, face outward, have the volume of the voxels, and lie where the structure lies."""

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from ltvs.delivery import surfaces
from ltvs.delivery.surfaces import mask_surface, structure_surfaces
from ltvs.volume.grids import Grid
from support.closed_surfaces import assert_closed, volume
from support.tiny_cases import OBLIQUE, SIGNED_PERMUTATIONS, ball, center, grid, image, points

SIZE = (12, 10, 9)
#: The factor of a part is found to 12 / 2**20, and a volume grows by less than that share of it.
EXACT = 2e-5


def upright(array: np.ndarray, spacing: tuple[float, float, float] = (0.7, 0.8, 1.6)) -> Grid:
    return Grid(array.shape[::-1], spacing, (-31.0, 12.5, 140.0), tuple(np.eye(3).ravel().tolist()))


def assert_sound(mask: np.ndarray, where: Grid, within: float = EXACT) -> surfaces.Surface:
    """Assert that the surface of a mask is closed, faces outward and has its volume; return it."""
    found = mask_surface(mask, where)
    assert_closed(found.faces)
    assert volume(found.points, found.faces) == pytest.approx(mask.sum() * np.prod(where.spacing), rel=within)
    return found


@pytest.mark.parametrize("direction", [*SIGNED_PERMUTATIONS[::5], *OBLIQUE])
def test_a_ball_on_any_grid_is_round_and_in_its_place(direction: np.ndarray) -> None:
    where, radius = grid(direction), 11.0
    mask = ball(where, center(where), radius)
    found = assert_sound(mask, where)
    away = np.linalg.norm(found.points - center(where), axis=1)
    # Voxels say where the surface is to half a step, of which the largest is 2 mm.
    assert np.abs(away - radius).max() < 1.0
    # Steps of voxels, equally likely anywhere in half a step on either side, would have a deviation of 2 / sqrt(12).
    assert away.std() < 0.6 * 2 / np.sqrt(12)


@given(st.tuples(*[st.integers(1, n) for n in SIZE]), st.floats(0.01, 1.0), st.integers(0, 2**32 - 1))
def test_any_voxels_have_a_sound_surface(size: tuple[int, int, int], share: float, seed: int) -> None:
    """Noise has all that is hard: single voxels, touching corners and edges, holes, voxels at the edge of the grid."""
    mask = np.random.default_rng(seed).random(size) < share
    mask.flat[seed % mask.size] = True
    where = upright(mask)
    found = assert_sound(mask, where)
    # No voxel changes sides: points stay between the centers of neighbors.
    low, high = where.physical((-1, -1, -1)), where.physical(where.size)
    assert ((low < found.points) & (found.points < high)).all()


@pytest.mark.parametrize("spacing", [(0.7, 0.7, 0.7), (1.0, 1.0, 5.0)])
def test_each_part_has_its_own_volume(spacing: tuple[float, float, float]) -> None:
    mask = np.zeros((31, 25, 40), bool)
    mask[3, 2, 4] = True  # a voxel
    mask[2:28, 12, 7] = True  # a vessel one voxel wide
    mask[5:25, 5:19, 15:35] = True  # an organ
    where = upright(mask, spacing)
    found = assert_sound(mask, where)
    edges = (np.ones(3 * len(found.faces)), (found.faces.ravel(), found.faces[:, [1, 2, 0]].ravel()))
    count, part = connected_components(coo_array(edges, shape=(len(found.points),) * 2))
    volumes = [volume(found.points, found.faces[part[found.faces[:, 0]] == number]) for number in range(count)]
    voxels = np.array([1, 26, 20 * 14 * 20])
    np.testing.assert_allclose(sorted(volumes), voxels * np.prod(spacing), rtol=EXACT)


def test_a_thin_branch_of_a_thick_vessel_keeps_its_width() -> None:
    mask = np.zeros((20, 21, 60), bool)
    z, y, _ = np.indices(mask.shape)
    mask[:, :, :20] = (np.hypot(z - 10, y - 10) < 7)[:, :, :20]
    mask[10, 10, 20:] = True
    found = assert_sound(mask, upright(mask, (1.0, 1.0, 1.0)))
    along = found.points[:, 0] + 31
    # A square of 1 mm has the area of a rhombus with diagonals of 1.41 mm.
    widths = [np.ptp(found.points[np.abs(along - mm) < 0.1, 1:], axis=0) for mm in (30, 40, 50)]
    np.testing.assert_allclose(widths, np.sqrt(2), rtol=0.1)


@pytest.mark.parametrize("slope", [0.5, 1.0, 2.0])
def test_slices_far_apart_do_not_show_as_steps(slope: float) -> None:
    where = Grid((90, 50, 16), (1.0, 1.0, 5.0), (0, 0, 0), tuple(np.eye(3).ravel().tolist()))

    def height(at: np.ndarray) -> np.ndarray:
        """The mm above a plane, square to it."""
        return (at[..., 2] - 37 - slope * (at[..., 0] - 45)) / np.hypot(1, slope)

    found = assert_sound(height(points(where)) < 0, where)
    inner = (np.abs(found.points - (45, 25, 37)) < (25, 12, 25)).all(axis=1)
    # Steps, equally likely anywhere in 2.5 mm above and below, have a deviation of 5 / sqrt(12) before they are tilted.
    assert height(found.points[inner]).std() < 0.15 * 5 / np.sqrt(12) / np.hypot(1, slope)


def test_large_structures_are_drawn_from_larger_voxels(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    mask = np.zeros((41, 90, 101), bool)
    z, y, x = np.indices(mask.shape)
    mask[np.hypot(np.hypot(2 * (z - 20), y - 44), x - 50) < 30] = True
    mask[tuple(rng.integers(0, mask.shape, (30, 3)).T)] = True  # specks, which are not to be lost
    where = upright(mask)
    fine = assert_sound(mask, where)
    monkeypatch.setattr(surfaces, "MOST_TRIANGLES", len(fine.faces) // 3)
    coarse = assert_sound(mask, where)
    assert len(coarse.faces) < len(fine.faces) / 3
    np.testing.assert_allclose(coarse.points.mean(axis=0), fine.points.mean(axis=0), atol=1)


def test_smoothing_takes_bumps_and_keeps_volume_and_specks() -> None:
    """Contours that jump from slice to slice by 2 mm, and a single voxel that a Gaussian would wipe out."""
    mask = np.zeros((30, 60, 61), bool)
    z, y, x = np.indices(mask.shape)
    mask[np.hypot(np.hypot(2 * (z - 15), y - 30), x - 30 - z % 2 * 2) < 20] = True
    mask[2, 3, 4] = True
    where = upright(mask, (1.0, 1.0, 2.0))

    def deviation(found: surfaces.Surface) -> float:
        assert_closed(found.faces)
        assert volume(found.points, found.faces) == pytest.approx(mask.sum() * 2, rel=EXACT)
        away = np.linalg.norm(found.points - where.physical((31, 30, 15)), axis=1)
        assert away.max() > 40  # the speck
        return float(away[away < 30].std())

    assert deviation(mask_surface(mask, where, smoothed=2.0)) < deviation(mask_surface(mask, where)) / 2


@pytest.mark.parametrize("kind", ["small block", "checkerboard", "sheet", "noise"])
def test_smoothing_costs_no_volume(kind: str) -> None:
    """Nothing here is much thicker than what is smoothed away."""
    places = np.indices((11, 13, 17))
    mask = {
        "small block": np.ones((11, 13, 17), bool),
        "checkerboard": places.sum(axis=0) % 2 == 0,
        "sheet": places[0] == 5,
        "noise": np.random.default_rng(0).random((11, 13, 17)) < 0.5,
    }[kind]
    where = upright(mask, (0.6, 0.7, 0.8))
    found = mask_surface(mask, where, smoothed=2.0)
    assert_closed(found.faces)
    # Smoothing is left out if it costs more than 1%.
    assert volume(found.points, found.faces) == pytest.approx(mask.sum() * 0.6 * 0.7 * 0.8, rel=0.01 + EXACT)


def test_structures_of_a_label_map() -> None:
    where = grid(OBLIQUE[1])
    labels = ball(where, center(where), 11).astype(np.uint8)
    labels[np.linalg.norm(points(where) - center(where), axis=-1) < 5] = 3
    found = structure_surfaces(image(labels, where))
    assert [*found] == ["liver", "tumor"]
    voxel = np.prod(where.spacing)
    for name, count in (("liver", (labels > 0).sum()), ("tumor", (labels == 3).sum())):
        assert volume(found[name].points, found[name].faces) == pytest.approx(count * voxel, rel=EXACT)
    assert (found["liver"].points.dtype, found["liver"].faces.dtype) == (np.float64, np.int32)
    (alone,) = structure_surfaces(image(labels, where), ["vessel", "tumor"]).items()
    assert alone[0] == "tumor"
    np.testing.assert_array_equal(alone[1].points, found["tumor"].points)


def test_an_empty_label_map_has_no_surfaces() -> None:
    assert structure_surfaces(sitk.Image(5, 4, 3, sitk.sitkUInt8)) == {}
    with pytest.raises(ValueError, match="mask_surface: expected a mask with voxels above 0, got an empty one"):
        mask_surface(np.zeros((3, 4, 5), bool), upright(np.zeros((3, 4, 5))))
