"""The canvas: shapes are mm to a surface, and a tissue covers those below it."""

import numpy as np
import pytest

from ltvs.anatomy.canvas import HIGHEST, LOWEST, Canvas, Region, ellipsoid, smooth_max, smooth_min, waves
from ltvs.anatomy.tissues import Tissue, lookup


def canvas(voxel: float = 1.0, size: tuple[int, int, int] = (60, 52, 44)) -> Canvas:
    x, y, z = (((np.arange(n) - (n - 1) / 2) * voxel).astype(np.float32) for n in size)
    return Canvas(x, y, z)


def test_levels_are_mm_to_the_surface() -> None:
    x, y, z = np.float32([[[14.0]]]), np.float32([[[0.0]]]), np.float32([[[0.0]]])
    assert ellipsoid((2, 0, 0), (9, 9, 9))(x, y, z) == pytest.approx(-3)
    assert ellipsoid((2, 0, 0), (9, 30, 9), np.pi / 2)(y, x, z) < 0  # turned, the long axis lies along x
    assert ellipsoid((2, 0, 0), (9, 30, 9), np.pi / 2)(x, y, z) > 0


def test_levels_are_in_single_precision() -> None:
    x = np.float32([[[14.0]]])
    center, radii = np.array([2.0, 0.0, 0.0]), np.array([9.0, 30.0, 9.0])
    assert ellipsoid(center, radii, float(np.float64(0.3)))(x, x, x).dtype == np.float32


def test_waves_have_their_deviation_and_length() -> None:
    volume = canvas(size=(120, 110, 100))
    field = waves(np.random.default_rng(1), 7.0, 12.0, count=40)(*volume.coordinates(volume.box(LOWEST, HIGHEST)))
    assert field.shape == volume.tissue.shape
    assert field.std() == pytest.approx(7, rel=0.1)
    # Its slope is that of waves of 12 mm, of which a third lies along each axis: 7 * 2 pi / 12 / sqrt(3) per mm.
    slope = np.diff(field, axis=2).std()
    assert slope == pytest.approx(7 * 2 * np.pi / 12 / np.sqrt(3), rel=0.2)


def test_unions_and_intersections_have_fillets() -> None:
    a, b = np.array([-2.0, 0.0, 9.0]), np.array([3.0, 0.0, -9.0])
    assert (smooth_max(a, b, 2.0) >= np.maximum(a, b)).all()
    assert (smooth_min(a, b, 2.0) <= np.minimum(a, b)).all()
    assert smooth_max(a, b, 2.0)[1] == pytest.approx(0.5)  # a quarter of the radius where both surfaces meet
    assert smooth_max(a, b, 2.0)[2] == 9


def test_the_later_tissue_covers_the_earlier_one_inside_its_surface() -> None:
    volume = canvas()

    def layers(x, y, z):
        yield ellipsoid((0, 0, 0), (20, 20, 20))(x, y, z), Tissue.LIVER
        yield ellipsoid((0, 0, 0), (10, 10, 10))(x, y, z), Tissue.BILE

    volume.paint(layers)
    counts = np.bincount(volume.tissue.ravel(), minlength=len(Tissue))
    balls = [4 / 3 * np.pi * radius**3 for radius in (10, 20)]
    assert counts[Tissue.BILE] == pytest.approx(balls[0], rel=0.02)
    assert counts[Tissue.LIVER] == pytest.approx(balls[1] - balls[0], rel=0.02)
    volume.fill(Region((slice(0, 2), slice(0, 3), slice(0, 4)), np.ones((2, 3, 4), dtype=np.float32)), Tissue.FAT)
    assert (volume.tissue == Tissue.FAT).sum() == 24


def test_a_box_beyond_the_canvas_is_empty() -> None:
    volume = canvas()
    volume.paint(lambda x, y, z: iter([(x + y + z + 1e6, Tissue.FAT)]), (500, 500, 500), (600, 600, 600))
    assert (volume.tissue == Tissue.AIR).all()
    assert volume.region(ellipsoid((0, 0, 0), (9, 9, 9)), (500, 500, 500), (600, 600, 600)).level.size == 0


def test_a_lookup_has_a_value_for_every_tissue() -> None:
    table = lookup({Tissue.LIVER: 100.0}, -1.0)
    assert table.dtype == np.float32
    assert len(table) == len(Tissue) < 256
    assert table[Tissue.LIVER] == 100
    assert (np.delete(table, Tissue.LIVER) == -1).all()
