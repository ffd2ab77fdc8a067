"""Measurements of label maps of solids that have them by formula.

The error of distances. Every point of a voxel whose center lies in a solid is at most half a diagonal d of a voxel
from it, so two solids of voxels are nearer to each other than the true ones by at most d. A ball of radius d/2 that
touches the surface of a solid from inside has a voxel center of the solid within d/2 of its own center, and its center
lies in that voxel: so they are farther apart by at most d. The same holds for volumes: a solid of voxels contains the
true one that is made d/2 thinner, and lies in that made d/2 thicker.
"""

import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given
from hypothesis import strategies as st

import ltvs
from ltvs.measurement import Measurements, find_doubts, measure
from ltvs.measurement.tumors import NEAR
from ltvs.runtime.errors import InputError
from ltvs.volume.grids import Grid
from support.solids import GRIDS, OBLIQUE, ball, diagonal, label_map, points, tube


def between(radius: float, half: float) -> tuple[float, float]:
    """Return the volumes of balls that are thinner and thicker by half a diagonal, ml."""
    small, large = (4 / 3 * np.pi * (radius + off) ** 3 / 1000 for off in (-half, half))
    return small, large


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
def test_a_ball_beside_a_tube_in_a_ball(grid: Grid) -> None:
    liver, tumor, vessel = 34.0, 9.0, 3.5
    center, off = np.array([6.0, -5.0, 4.0]), 4.2
    # A tube at right angles to the line between both axes, 4.2 mm from the tumor.
    across, along = np.array([0.6, 0.8, 0.0]), np.array([0.8, -0.6, 0.5])
    through = center - (tumor + off + vessel) * across
    inside = ball(grid, (0, 0, 0), liver)
    masks = tube(grid, tuple(through), tuple(along), vessel) & inside, ball(grid, tuple(center), tumor)
    found = measure(label_map(grid, inside, *masks))
    d = diagonal(grid)
    low, high = between(liver, d / 2)
    assert low <= found.liver_ml <= high
    (only,) = found.tumors
    low, high = between(tumor, d / 2)
    assert low <= only.volume_ml <= high
    assert only.volume_ml == found.tumors_ml
    assert 0 < found.vessels_ml < found.liver_ml / 10
    assert only.distance_to_vessel_mm == pytest.approx(off, abs=d)
    assert only.distance_to_liver_surface_mm == pytest.approx(liver - np.linalg.norm(center) - tumor, abs=d)
    # What is too much or too little lies in a shell of d around the surface, at most so far out.
    shell = (between(tumor, d / 2)[1] - between(tumor, d / 2)[0]) / only.volume_ml
    assert only.center_mm == pytest.approx(tuple(center), abs=shell * (tumor + d / 2))


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
def test_centers_of_symmetric_tumors_are_exact(grid: Grid) -> None:
    """The voxels of a ball around the center of one come in pairs; with this radius, rounding does not part them."""
    center = tuple(grid.physical((44, 41, 26)).tolist())
    inside = ball(grid, center, 25)
    (tumor,) = measure(label_map(grid, inside, inside & False, ball(grid, center, 8.03))).tumors
    assert tumor.center_mm == pytest.approx(center, abs=1e-9)


@pytest.mark.parametrize("off", [0.5, 2.0, 4.0])
def test_share_of_a_ball_near_a_wall(off: float) -> None:
    """A cap of height 5 - off out of 2 R, by Archimedes.

    A vertex of the surface is at most half a spacing from the ball, and the wall of voxels at most d/2 from the wall: a
    cap is higher or lower by d at most. Triangles have the normals of axes, of
    diagonals of faces and of the diagonal of a voxel. Normals between those of one triangle of directions are at most
    half of 54.7 degrees from one of them where voxels are cubes; so areas are too large by 1/cos(27.4 degrees) at most,
    and not too small.
    """
    grid = Grid((80, 81, 82), (0.5, 0.5, 0.5), (-20, -20, -20), (1, 0, 0, 0, 1, 0, 0, 0, 1))
    radius, excess = 12.0, 1 / np.cos(np.radians(27.4))
    wall = points(grid) @ (0.6, 0.0, 0.8) >= radius + off
    (tumor,) = measure(label_map(grid, wall | ~wall, wall, ball(grid, (0, 0, 0), radius))).tumors
    low, high = ((NEAR - off + sign * diagonal(grid)) / (2 * radius) for sign in (-1, 1))
    assert tumor.share_of_surface_near_vessel is not None
    low = max(0, low)
    assert low / (low + excess * (1 - low)) <= tumor.share_of_surface_near_vessel
    assert tumor.share_of_surface_near_vessel <= excess * high / (excess * high + 1 - high)


def test_a_tumor_in_a_vessel_is_near_it_all_around() -> None:
    inside = ball(OBLIQUE, (0, 0, 0), 30)
    (tumor,) = measure(label_map(OBLIQUE, inside, ball(OBLIQUE, (0, 0, 0), 14), ball(OBLIQUE, (0, 0, 0), 8))).tumors
    assert (tumor.distance_to_vessel_mm, tumor.share_of_surface_near_vessel) == (0, 1)


def tiny(*places: tuple[int, int, int], label: int = 3) -> sitk.Image:
    """A liver of 7 x 8 x 9 voxels within a larger volume, with single voxels of a label at places within it."""
    labels = np.zeros((11, 12, 13), np.uint8)
    labels[2:9, 2:10, 2:11] = 1
    for d, h, w in places:
        labels[2 + d, 2 + h, 2 + w] = label
    image = sitk.GetImageFromArray(labels)
    image.SetSpacing((0.5, 0.7, 3.0))
    return image


def test_at_the_surface_of_the_liver() -> None:
    found = measure(tiny((0, 4, 4), (3, 4, 2), (3, 6, 7)))
    assert [tumor.distance_to_liver_surface_mm for tumor in found.tumors] == pytest.approx([0, 1.0, 0.5])


def test_a_cavity_is_no_surface_of_the_liver() -> None:
    (tumor,) = measure(tiny((3, 4, 2))).tumors
    labels = tiny((3, 4, 2))
    labels[7, 6, 5] = 0
    (beside,) = measure(labels).tumors
    assert beside.distance_to_liver_surface_mm == tumor.distance_to_liver_surface_mm == pytest.approx(1.0)


def test_beyond_the_volume_is_outside() -> None:
    labels = tiny((3, 4, 2))[2:11, 2:10, 2:9]
    (tumor,) = measure(labels).tumors
    assert tumor.distance_to_liver_surface_mm == pytest.approx(1.0)


def test_tumors_of_one_voxel() -> None:
    found = measure(tiny((1, 1, 1), (5, 5, 5)))
    for number, tumor in enumerate(found.tumors, 1):
        assert tumor.number == number
        assert tumor.volume_ml == pytest.approx(0.5 * 0.7 * 3 / 1000)
        assert (tumor.longest_axial_diameter_mm, tumor.perpendicular_diameter_mm) == pytest.approx((0.7, 0.5))
        assert tumor.distance_to_vessel_mm is tumor.share_of_surface_near_vessel is None
    assert found.tumors[0].center_mm == pytest.approx((3 * 0.5, 3 * 0.7, 3 * 3.0))


def test_nothing_is_labeled() -> None:
    assert measure(sitk.Image((3, 4, 5), sitk.sitkUInt8)) == Measurements(0, 0, 0, ())


def test_json_is_rounded() -> None:
    labels = tiny((1, 1, 1), (1, 1, 2), (5, 5, 5))
    labels[4, 4, 4] = 2
    assert measure(labels).json() == {
        "liver_ml": round(7 * 8 * 9 * 1.05 / 1000, 3),
        "vessels_ml": 0.001,
        "tumors_ml": 0.003,
        "tumors": [
            {
                "number": 1,
                "volume_ml": 0.002,
                "longest_axial_diameter_mm": 1.0,
                "perpendicular_diameter_mm": 0.7,
                "center_mm": [1.8, 2.1, 9.0],
                "distance_to_vessel_mm": 0.0,
                "distance_to_liver_surface_mm": 0.5,
                "share_of_surface_near_vessel": 1.0,
            },
            measure(labels).tumors[1].json(),
        ],
    }


@given(st.integers(0, 2**32 - 1), st.integers(1, 7), st.integers(1, 8), st.integers(1, 9))
def test_the_order_of_axes_does_not_matter(seed: int, d: int, h: int, w: int) -> None:
    rng = np.random.default_rng(seed)
    labels = sitk.GetImageFromArray(rng.choice(4, size=(d, h, w), p=(0.2, 0.4, 0.1, 0.3)).astype(np.uint8))
    labels.SetSpacing((0.5, 0.7, 3.0))
    found = measure(labels)
    assert [tumor.number for tumor in found.tumors] == list(range(1, len(found.tumors) + 1))
    volumes = [tumor.volume_ml for tumor in found.tumors]
    assert volumes == sorted(volumes, reverse=True)
    assert sum(volumes) == pytest.approx(found.tumors_ml)
    for tumor in found.tumors:
        # Voxels whose corners are near a vessel may have no vertex of the surface that is.
        if tumor.share_of_surface_near_vessel:
            assert tumor.distance_to_vessel_mm is not None
            assert tumor.distance_to_vessel_mm <= NEAR
    order, flips = rng.permutation(3), rng.random(3) < 0.5
    turned = measure(sitk.Flip(sitk.PermuteAxes(labels, order.tolist()), flips.tolist()))
    assert (turned.liver_ml, turned.vessels_ml, turned.tumors_ml) == pytest.approx(
        (found.liver_ml, found.vessels_ml, found.tumors_ml)
    )
    by_place = [sorted(of.tumors, key=lambda tumor: np.round(tumor.center_mm, 6).tolist()) for of in (found, turned)]
    for one, other in zip(*by_place, strict=True):
        assert other.center_mm == pytest.approx(one.center_mm)
        assert other.longest_axial_diameter_mm == pytest.approx(one.longest_axial_diameter_mm)
        assert other.distance_to_vessel_mm == pytest.approx(one.distance_to_vessel_mm)
        assert other.distance_to_liver_surface_mm == pytest.approx(one.distance_to_liver_surface_mm)


@pytest.mark.parametrize(
    ("labels", "got"),
    [
        (sitk.Image((2, 3, 4), sitk.sitkFloat32), "float32 in 3D, 0 to 0"),
        (sitk.Image((2, 3, 4), sitk.sitkInt16) - 1, "int16 in 3D, -1 to -1"),
        (sitk.Image((2, 3, 4), sitk.sitkUInt8) + 4, "uint8 in 3D, 4 to 4"),
        (sitk.Image((2, 3), sitk.sitkUInt8), "uint8 in 2D, 0 to 0"),
    ],
)
def test_no_label_map(labels: sitk.Image, got: str) -> None:
    with pytest.raises(InputError, match=f"expected a label map in 3D of whole numbers, 0 to 3; got {got}"):
        measure(labels)


def test_names_are_imported_once_they_are_asked_for() -> None:
    code = (
        "import sys, ltvs.measurement\nassert 'scipy' not in sys.modules\nassert callable(ltvs.measurement.measure)\n"
        "assert 'scipy' in sys.modules"
    )
    path = [str(Path(ltvs.__file__).parents[1]), *sys.path]
    subprocess.run([sys.executable, "-c", f"import sys; sys.path[:0] = {path!r}\n{code}"], check=True)
    with pytest.raises(AttributeError, match=r"module 'ltvs\.measurement' has no attribute 'nothing'"):
        ltvs.measurement.nothing  # noqa: B018


@pytest.mark.slow
def test_a_whole_body_needs_little_memory() -> None:
    """Besides label map and CT, one mask of the same size, and what the box of the liver takes."""
    labels = np.zeros((1000, 512, 512), np.uint8)
    labels[400:440, 200:260, 150:200] = 1
    labels[410:420, 220:230, 160:170], labels[425, 240, 170:190] = 3, 2
    image, size = sitk.GetImageFromArray(labels), labels.nbytes
    ct = sitk.Cast(image, sitk.sitkInt16) * 110 - 1024
    del labels
    tracemalloc.start()
    try:
        assert len(measure(image).tumors) == 1
        assert "The liver has a volume of 120 ml, expected 600 to 3,500 ml." in find_doubts(ct, image)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1.2 * size
