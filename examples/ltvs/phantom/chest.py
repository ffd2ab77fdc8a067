"""Organs above the diaphragm: lungs with their vessels, heart, esophagus."""

import numpy as np
from numpy import ndarray

from ltvs.phantom.body_build import Build
from ltvs.phantom.body_wall import FAT, MUSCLE
from ltvs.phantom.canvas import Canvas, Tissues, ellipsoid, smooth_min, waves

LUNG = -850.0


def _floor(build: Build, x: ndarray, y: ndarray) -> ndarray:
    """Return the height of the lungs' lower end, mm: they rest on the organs, with hardly any fat in between."""
    return build.diaphragm(x, y) - 9 * build.scale


def paint_chest(canvas: Canvas, build: Build, blood: float, rng: np.random.Generator) -> None:
    """Paint the lungs under the ribs, then heart and esophagus between them."""
    s = build.scale
    ripple, vessels, gradient = waves(rng, 1.2 * s, 60 * s), waves(rng, 1.0, 15 * s, 9), waves(rng, 14, 70)

    def lungs(x: ndarray, y: ndarray, z: ndarray) -> Tissues:
        height = z - _floor(build, x, y) - ripple(x, y, z)
        level = smooth_min(build.cavity(x, y) + 2, height, 4.0)
        spine = ellipsoid((0, build.spine, 0), (25 * s, 19 * s, 1e5))(x, y, z)
        yield smooth_min(level, -spine, 5.0) + 2.6, MUSCLE - 5
        markings = np.clip(vessels(x, y, z) - 1.3, 0, 0.6) / 0.6
        yield smooth_min(level, -spine, 5.0), LUNG + gradient(x, y, z) + 0.12 * y + 840 * markings**2

    canvas.paint(lungs)
    base = build.dome - 30 * s
    middle = np.array([20 * s, -34 * s, base + 30 * s])
    sac = ellipsoid(middle, (66 * s, 46 * s, 46 * s), 0.35)
    ventricle = ellipsoid(middle + np.multiply((22, -2, -2), s), (31 * s, 24 * s, 32 * s), 0.45)
    atrium = ellipsoid(middle + np.multiply((-26, -4, 2), s), (22 * s, 30 * s, 34 * s), -0.2)
    surface, mixing = waves(rng, 2.5 * s, 50 * s), waves(rng, 7, 30)

    def heart(x: ndarray, y: ndarray, z: ndarray) -> Tissues:
        above = z - _floor(build, x, y) - 1
        bump = surface(x, y, z)
        outer = np.minimum(sac(x, y, z) + bump, above)
        yield outer, FAT + 10
        yield np.minimum(outer, 0.8 - np.abs(outer - 1)), MUSCLE - 20
        flesh = sac(x, y, z) - 7 * s + 1.6 * bump
        yield np.minimum(flesh, above - 3), 108 + mixing(x, y, z)
        for chamber in (ventricle, atrium):
            yield np.minimum(np.minimum(chamber(x, y, z) + bump, flesh - 6 * s), above - 8 * s), blood + mixing(x, y, z)

    canvas.paint(heart, middle - 80 * s, middle + 80 * s)

    def esophagus(x: ndarray, y: ndarray, z: ndarray) -> Tissues:
        tube = ellipsoid((12 * s, build.spine - 42 * s, 0), (9 * s, 7 * s, 1e5))(x, y, z)
        above = np.minimum(tube, z - build.dome + 45 * s)
        yield above, 62.0
        yield above - 4.5 * s, -60.0

    canvas.paint(esophagus, (0, -60 * s, -1e4), (30 * s, build.spine, 1e4))
