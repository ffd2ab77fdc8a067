"""Organs above the diaphragm: lungs with their vessels, mediastinum, heart, great vessels, windpipe, esophagus."""

from collections.abc import Sequence

import numpy as np
from numpy import ndarray
from scipy.ndimage import gaussian_filter1d

from ltvs.anatomy.build import Build
from ltvs.anatomy.canvas import Canvas, Point, Region, Tissues, ellipsoid, smooth_min, waves
from ltvs.anatomy.tissues import Tissue
from ltvs.anatomy.vessel_tree import tree_region, tube


def _floor(build: Build, x: ndarray, y: ndarray) -> ndarray:
    """Return the height of the lungs' lower end, mm: they rest on the organs, with hardly any fat in between."""
    return build.diaphragm(x, y) - 9 * build.scale


def paint_chest(canvas: Canvas, build: Build, rng: np.random.Generator) -> None:
    """Paint the lungs under the ribs, then what lies between them."""
    s = build.scale
    ripple, vessels, airways = waves(rng, 1.2 * s, 60 * s), waves(rng, 1.0, 15 * s, 9), waves(rng, 1.0, 40 * s)
    apex = build.shoulders + 8 * s
    effusion = rng.uniform(10, 60) * s if rng.random() < 0.1 else 0.0
    collapsed = rng.uniform(4, 16) * s if rng.random() < 0.3 else 0.0
    lean = rng.uniform(-0.15, 0.15)

    def lungs(x: ndarray, y: ndarray, z: ndarray) -> Tissues:
        floor = _floor(build, x, y)
        height = z - floor - ripple(x, y, z)
        # Narrower toward the top.
        taper = np.clip((z - build.dome - 60 * s) / (110 * s), 0, 1) ** 2
        level = smooth_min(build.cavity(x, y) + 2 - 45 * s * taper, height, 4.0)
        level = smooth_min(level, apex - z, 12 * s)
        spine = ellipsoid((0, build.spine, 0), (25 * s, 19 * s, 1e5))(x, y, z)
        middle = ellipsoid((4 * s, -0.25 * build.half_depth, 0), (34 * s, 0.62 * build.half_depth, 1e5), lean)(x, y, z)
        level = smooth_min(smooth_min(level, -spine, 5.0), -middle, 6.0)
        yield level + 2.6, Tissue.MUSCLE
        yield level, Tissue.LUNG
        yield np.minimum(level, 3 * (vessels(x, y, z) - 1.65 + 0.25 * airways(x, y, z))), Tissue.LUNG_VESSEL
        behind = y - build.spine + 25 * s - 0.15 * (z - floor)
        if collapsed:
            yield np.minimum(level, behind + collapsed), Tissue.ORGAN
        if effusion:
            yield np.minimum(level, behind + effusion - 0.4 * np.abs(x)), Tissue.FLUID

    canvas.paint(lungs, (-1e4, -1e4, build.dome - 130 * s), (1e4, 1e4, apex + 5))
    _paint_heart(canvas, build, rng)
    _paint_tubes(canvas, build, rng)


def _paint_heart(canvas: Canvas, build: Build, rng: np.random.Generator) -> None:
    s = build.scale * rng.uniform(0.88, 1.12)
    # In some the heart lies on the liver, in others it hangs beside it.
    middle = np.array([rng.uniform(4, 24) * s, -34 * s, build.dome - rng.uniform(0, 16) * s]) + rng.normal(0, 4, 3)
    sac = ellipsoid(middle, (66 * s, 46 * s, 46 * s), 0.35)
    ventricle = ellipsoid(middle + np.multiply((22, -2, -2), s), (31 * s, 24 * s, 32 * s), 0.45)
    right = ellipsoid(middle + np.multiply((-4, -22, -2), s), (34 * s, 17 * s, 28 * s), 0.5)
    atrium = ellipsoid(middle + np.multiply((-26, -4, 2), s), (22 * s, 30 * s, 34 * s), -0.2)
    surface = waves(rng, 2.5 * s, 50 * s)

    def layers(x: ndarray, y: ndarray, z: ndarray) -> Tissues:
        above = z - _floor(build, x, y) - 1
        bump = surface(x, y, z)
        outer = np.minimum(sac(x, y, z) + bump, above)
        yield outer, Tissue.FAT
        yield np.minimum(outer, 0.8 - np.abs(outer - 1)), Tissue.MUSCLE
        flesh = sac(x, y, z) - 7 * s + 1.6 * bump
        yield np.minimum(flesh, above - 3), Tissue.HEART
        for chamber in (ventricle, right, atrium):
            inner = np.minimum(np.minimum(chamber(x, y, z) + bump, flesh - 5 * s), above - 8 * s)
            yield inner, Tissue.HEART_BLOOD

    canvas.paint(layers, middle - 80 * s, middle + 80 * s)


def _paint_tubes(canvas: Canvas, build: Build, rng: np.random.Generator) -> None:
    """Paint the great vessels, the windpipe with its bronchi, and the esophagus."""
    s, dome, back = build.scale, build.dome, build.spine
    arch = dome + rng.uniform(100, 120) * s
    root = (0, -32 * s, dome + 40 * s)
    aorta = [root, (-14 * s, -34 * s, arch - 25 * s), (-2 * s, -22 * s, arch), (14 * s, 0, arch),
             (18 * s, back - 26 * s, arch - 25 * s), (16 * s, back - 30 * s, dome - 20 * s)]  # fmt: skip
    cava = [(-30 * s, -16 * s, dome + 20 * s), (-32 * s, -22 * s, arch), (-26 * s, -22 * s, arch + 60 * s)]
    lung = [(10 * s, -38 * s, dome + 45 * s), (8 * s, -20 * s, dome + 85 * s), (-30 * s, -4 * s, dome + 85 * s)]
    for path, radius in ((cava, 9), (lung, 12)):
        canvas.fill(tree_region(canvas, [tube(_smooth(path), radius * s)]), Tissue.HEART_BLOOD)
    vessels = [tube(_smooth(aorta), 13 * s)]
    for side in (-1, 1):
        up = [
            (4 * side * s, -14 * s, arch),
            (22 * side * s, -8 * s, arch + 70 * s),
            (26 * side * s, -8 * s, arch + 220),
        ]
        vessels.append(tube(_smooth(up), 4.5 * s))
    canvas.fill(tree_region(canvas, vessels), Tissue.ARTERY)
    thyroid = [(side * 18 * s, -22 * s, build.shoulders + 45 * s) for side in (-1, 1)]
    for center in thyroid:
        low, high = np.subtract(center, 40 * s), np.add(center, 40 * s)
        shape = ellipsoid(center, np.multiply((10, 11, 22), s))
        canvas.fill(canvas.region(shape, low, high), Tissue.ORGAN)
    fork = np.array((0, 2 * s, dome + 80 * s))
    trunk = [tuple(fork), (0, -10 * s, fork[2] + 80 * s), (0, -18 * s, fork[2] + 300 * s)]
    bronchi = [[tuple(fork), (side * 30 * s, 6 * s, fork[2] - 22 * s), (side * 55 * s, 8 * s, fork[2] - 45 * s)]
               for side in (-1, 1)]  # fmt: skip
    pipes = [tube(_smooth(path), radius * s) for path, radius in ((trunk, 8.5), (bronchi[0], 6), (bronchi[1], 6))]
    box, level = tree_region(canvas, pipes)
    canvas.fill(Region(box, level + 1.5), Tissue.CARTILAGE)
    canvas.fill(Region(box, level), Tissue.GAS)
    hollow = rng.random() < 0.4

    def esophagus(x: ndarray, y: ndarray, z: ndarray) -> Tissues:
        level = ellipsoid((9 * s, back - 42 * s, 0), (9 * s, 7 * s, 1e5))(x, y, z)
        above = np.minimum(level, z - dome + 45 * s)
        yield above, Tissue.WALL
        yield above - 4.5 * s, Tissue.GAS if hollow else Tissue.HAZE

    canvas.paint(esophagus, (-10 * s, -60 * s, -1e4), (30 * s, back, 1e4))


def _smooth(path: Sequence[Point]) -> ndarray:
    """Return a path through points with seven more between each two, its corners rounded."""
    nodes = np.array(path, dtype=float)
    at = np.linspace(0, len(nodes) - 1, 8 * (len(nodes) - 1) + 1)
    dense = np.stack([np.interp(at, np.arange(len(nodes)), axis) for axis in nodes.T], axis=1)
    return np.asarray(gaussian_filter1d(dense, 2.5, axis=0, mode="nearest"))
