"""The abdominal organs and great vessels around the liver, bowel excepted."""

import numpy as np
from numpy import ndarray

from ltvs.phantom.body_build import Build
from ltvs.phantom.body_wall import FAT, MUSCLE
from ltvs.phantom.canvas import Canvas, Layers, Level, Tissues, ellipsoid, waves
from ltvs.phantom.vessel_tree import tree_region, tube

GAS, FLUID = -920.0, 12.0


def paint_organs(canvas: Canvas, build: Build, blood: float, rng: np.random.Generator) -> None:
    """Paint kidneys, spleen, pancreas, stomach, gallbladder, aorta and its branches."""
    s = build.scale
    for side in (-1, 1):
        _paint_kidney(canvas, build, side, blood, rng)
    _paint_spleen(canvas, build, rng)
    _paint_pancreas(canvas, build, rng)
    _paint_aorta(canvas, build, blood, rng)
    _paint_stomach(canvas, build, rng)
    center = np.multiply((-40, -38, -48), s)
    gallbladder = ellipsoid(center, np.multiply((15, 15, 28), s))

    def bile(x: ndarray, y: ndarray, z: ndarray) -> Tissues:
        yield gallbladder(x, y, z) + 1.5, 60.0
        yield gallbladder(x, y, z), FLUID

    _paint(canvas, bile, center, 34 * s)


def _paint(canvas: Canvas, layers: Layers, center: ndarray, reach: float) -> None:
    """Paint layers on the voxels within `reach` mm of a center along each axis."""
    canvas.paint(layers, center - reach, center + reach)


def _shape(center: ndarray, radii: ndarray, tilt: float, bumps: float, s: float, rng: np.random.Generator) -> Level:
    """Return an ellipsoid whose surface is uneven by `bumps` times `s` mm."""
    whole, bump = ellipsoid(center, radii, tilt), waves(rng, bumps * s, 42 * s)
    return lambda x, y, z: np.asarray(whole(x, y, z) + bump(x, y, z))


def _paint_kidney(canvas: Canvas, build: Build, side: int, blood: float, rng: np.random.Generator) -> None:
    s = build.scale
    center = np.multiply((side * 60 + 3, 45, -54 - 10 * (side < 0)), s) + rng.normal(0, 2, 3)
    whole = _shape(center, np.multiply((28, 25, 52), s), 0.5 * side, 1.5, s, rng)
    sinus = ellipsoid(center - (side * 10 * s, 3 * s, 0), np.multiply((15, 10, 30), s), 0.5 * side)
    calyces, pyramids, fat = waves(rng, 4.5 * s, 17 * s, 9), waves(rng, 1.0, 19 * s, 9), waves(rng, 9, 12)
    cortex = rng.uniform(172, 200)

    def layers(x: ndarray, y: ndarray, z: ndarray) -> Tissues:
        level = np.minimum(whole(x, y, z), build.cavity(x, y) - 5)
        # A capsule of fat, bounded by a thin fascia.
        yield 0.7 - np.abs(level + 7 * s + 0.5 * calyces(x, y, z)), FAT + 70
        yield level, cortex
        medulla = np.minimum(level - 6 * s, 6 * pyramids(x, y, z))
        yield medulla, cortex - 32
        hollow = sinus(x, y, z) + calyces(x, y, z)
        yield hollow, FAT + 22 + fat(x, y, z)
        yield np.minimum(hollow - 2.5 * s, 1.6 * s - np.abs(calyces(x, y, z))), 95.0

    _paint(canvas, layers, center, 70 * s)
    hilum = center - (side * 20 * s, 4 * s, 0)
    great = np.array([14 * s if side > 0 else -20 * s, build.spine - 28 * s, center[2] + 8 * s])
    vein = tube(np.array([great, (great + hilum) / 2 - (0, 5 * s, 0), hilum]), 4.2 * s)
    canvas.blend(tree_region(canvas, [vein]), blood - 4)


def _paint_spleen(canvas: Canvas, build: Build, rng: np.random.Generator) -> None:
    s = build.scale
    center = np.multiply((92 + rng.uniform(-6, 6), 38, 24), s)
    whole = _shape(center, np.multiply((31, 48, 52), s), -0.5, 3, s, rng)
    hollow = ellipsoid(center + np.multiply((-36, -22, 0), s), np.multiply((34, 32, 44), s), -0.5)
    grain, hu = waves(rng, 3.0, 12), rng.uniform(112, 128)

    def layers(x: ndarray, y: ndarray, z: ndarray) -> Tissues:
        level = np.minimum(np.minimum(whole(x, y, z), -hollow(x, y, z)), build.cavity(x, y) - 3)
        yield np.minimum(level, build.diaphragm(x, y) - 3 - z), hu + grain(x, y, z)

    _paint(canvas, layers, center, 66 * s)


def _paint_pancreas(canvas: Canvas, build: Build, rng: np.random.Generator) -> None:
    s = build.scale
    center = np.multiply((18, -10, -24), s)
    body = _shape(center, np.multiply((54, 11, 14), s), -0.3, 4, s, rng)
    head = _shape(np.multiply((-18, -2, -38), s), np.multiply((18, 15, 22), s), 0, 3, s, rng)
    lobules, grain = waves(rng, 1.0, 9 * s, 9), waves(rng, 5, 12)

    def layers(x: ndarray, y: ndarray, z: ndarray) -> Tissues:
        level = np.maximum(body(x, y, z), head(x, y, z))
        # Fat lies between the lobules, so the edge is frayed.
        cracks = np.clip(1.6 * (lobules(x, y, z) - 0.8), 0, 1)
        yield level - 3 * s * cracks, 98 - 70 * cracks + grain(x, y, z)

    _paint(canvas, layers, center, 76 * s)


def _paint_aorta(canvas: Canvas, build: Build, blood: float, rng: np.random.Generator) -> None:
    """Paint the aorta, the superior mesenteric artery and vein, the splenic vein, and the muscles along the spine."""
    s = build.scale
    front = build.spine - 30 * s
    calcium = waves(rng, 1.0, 14, 9)

    def layers(x: ndarray, y: ndarray, z: ndarray) -> Tissues:
        for side in (-1, 1):
            # Crura of the diaphragm above, psoas below.
            crus = ellipsoid((side * 13 * s, front + 6 * s, 0), (7 * s, 15 * s, 1e5), 0.4 * side)(x, y, z)
            yield np.minimum(crus, z + 25 * s), MUSCLE
            wide = np.clip(-(z + 10 * s) / (60 * s), 0, 1)
            psoas = ellipsoid((side * 32 * s, build.spine + 8 * s, 0), (15 * s, 17 * s, 1e5), 0.3 * side)(x, y, z)
            yield psoas - 15 * s * (1 - wide), MUSCLE
        aorta = 10.5 * s - np.hypot(x - 14 * s - 0.02 * z, y - front)
        yield aorta, blood
        plaque = np.minimum(0.9 * s - np.abs(aorta - 0.8), 4 * (calcium(x, y, z) - 1.7))
        yield plaque, 420.0

    canvas.paint(layers, (-50 * s, -10 * s, -1e4), (50 * s, build.spine + 30 * s, 1e4))
    root = np.array([13 * s, front - 8 * s, -26 * s])
    down = [root, root + np.multiply((-3, -20, -16), s), root + np.multiply((-7, -28, -90), s)]
    canvas.blend(tree_region(canvas, [tube(np.array(down), 3.6 * s)]), blood)
    vein = np.multiply([(4, 14, -30), (-6, 2, -48), (-6, -6, -110)], s)
    canvas.blend(tree_region(canvas, [tube(vein, 5.5 * s)]), blood)
    splenic = np.multiply([(2, 10, -42), (24, 6, -26), (48, 12, -14), (74, 24, 2)], s)
    canvas.blend(tree_region(canvas, [tube(splenic, 4.4 * s)]), blood)


def _paint_stomach(canvas: Canvas, build: Build, rng: np.random.Generator) -> None:
    s = build.scale
    fundus = _shape(np.multiply((62, 2, 44), s), np.multiply((38, 38, 40), s), 0.3, 3, s, rng)
    body = _shape(np.multiply((56, -34, 4), s), np.multiply((30, 30, 48), s), 0.3, 3, s, rng)
    antrum = _shape(np.multiply((18, -50, -30), s), np.multiply((46, 17, 17), s), -0.1, 2, s, rng)
    folds, meal, crumbs = waves(rng, 1.7 * s, 13 * s, 9), waves(rng, 11, 16), waves(rng, 1.0, 10, 9)
    hu, surface = rng.uniform(18, 45), rng.uniform(-62, -44) * s

    def layers(x: ndarray, y: ndarray, z: ndarray) -> Tissues:
        level = np.maximum(np.maximum(fundus(x, y, z), body(x, y, z)), antrum(x, y, z))
        level = np.minimum(np.minimum(level, build.cavity(x, y) - 4), build.diaphragm(x, y) - 4 - z)
        yield level, 72.0
        inner = level - 4.5 * s + folds(x, y, z)
        yield inner, hu + meal(x, y, z) - 260 * np.clip(crumbs(x, y, z) - 1.5, 0, 1)
        yield np.minimum(inner, surface - y), GAS

    canvas.paint(layers, np.multiply((-45, -100, -60), s), np.multiply((115, 55, 100), s))
