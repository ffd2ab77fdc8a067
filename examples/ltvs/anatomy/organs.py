"""The abdominal organs and great vessels around the liver, bowel excepted."""

import numpy as np
from numpy import ndarray

from ltvs.anatomy.build import Build
from ltvs.anatomy.canvas import Canvas, Layers, Level, Region, Tissues, ellipsoid, waves
from ltvs.anatomy.tissues import Tissue
from ltvs.anatomy.vessel_tree import tree_region, tube


def paint_organs(canvas: Canvas, build: Build, rng: np.random.Generator) -> None:
    """Paint kidneys, adrenals, spleen, pancreas, stomach, aorta and its branches."""
    for side in (-1, 1):
        _paint_kidney(canvas, build, side, rng)
    _paint_spleen(canvas, build, rng)
    _paint_pancreas(canvas, build, rng)
    _paint_aorta(canvas, build, rng)
    _paint_stomach(canvas, build, rng)


def paint_gallbladder(canvas: Canvas, build: Build, rng: np.random.Generator) -> None:
    """Paint a gallbladder under the liver, collapsed, wide or taken out."""
    s = build.scale
    size = rng.uniform(0.55, 1.3)
    center = np.multiply((-40, -38, -48), s) + rng.normal(0, 3, 3)
    gallbladder = ellipsoid(center, np.multiply((15, 15, 28), s * size))
    thickness = rng.uniform(0.8, 2.5)
    if rng.random() < 0.15:
        return

    def bile(x: ndarray, y: ndarray, z: ndarray) -> Tissues:
        yield gallbladder(x, y, z) + thickness, Tissue.WALL
        yield gallbladder(x, y, z), Tissue.BILE

    _paint(canvas, bile, center, 44 * s)


def _paint(canvas: Canvas, layers: Layers, center: ndarray, reach: float) -> None:
    """Paint layers on the voxels within `reach` mm of a center along each axis."""
    canvas.paint(layers, center - reach, center + reach)


def _shape(center: ndarray, radii: ndarray, tilt: float, bumps: float, s: float, rng: np.random.Generator) -> Level:
    """Return an ellipsoid whose surface is uneven by `bumps` times `s` mm."""
    whole, bump = ellipsoid(center, radii, tilt), waves(rng, bumps * s, 42 * s)
    return lambda x, y, z: np.asarray(whole(x, y, z) + bump(x, y, z))


def _paint_kidney(canvas: Canvas, build: Build, side: int, rng: np.random.Generator) -> None:
    s = build.scale
    center = np.multiply((side * 60 + 3, 45, -54 - 10 * (side < 0)), s) + rng.normal(0, (3, 3, 9), 3)
    size, near = rng.uniform(0.82, 1.15), rng.uniform(1, 6)
    whole = _shape(center, np.multiply((28, 25, 52), s * size), 0.5 * side, 1.5, s, rng)
    sinus = ellipsoid(center - (side * 10 * s, 3 * s, 0), np.multiply((15, 10, 30), s * size), 0.5 * side)
    calyces, pyramids = waves(rng, 4.5 * s, 17 * s, 9), waves(rng, 1.0, 19 * s, 9)
    cysts = [
        ellipsoid(center + rng.normal(0, 1, 3) * np.multiply((20, 20, 32), s), np.full(3, rng.uniform(4, 22) * s))
        for _ in range(int(rng.choice([0, 1, 2], p=[0.65, 0.2, 0.15])))
    ]

    def layers(x: ndarray, y: ndarray, z: ndarray) -> Tissues:
        level = np.minimum(whole(x, y, z), build.cavity(x, y) - near)
        # A capsule of fat, bounded by a thin fascia.
        yield 0.7 - np.abs(level + 7 * s + 0.5 * calyces(x, y, z)), Tissue.HAZE
        yield level, Tissue.CORTEX
        yield np.minimum(level - 6 * s, 6 * pyramids(x, y, z)), Tissue.MEDULLA
        hollow = sinus(x, y, z) + calyces(x, y, z)
        yield hollow, Tissue.HAZE
        yield np.minimum(hollow - 2.5 * s, 1.6 * s - np.abs(calyces(x, y, z))), Tissue.URINE
        for cyst in cysts:
            yield np.minimum(cyst(x, y, z), build.cavity(x, y) - 5), Tissue.FLUID

    _paint(canvas, layers, center, 76 * s)
    hilum = center - (side * 20 * s, 4 * s, 0)
    great = np.array([14 * s if side > 0 else -20 * s, build.spine - 28 * s, center[2] + 8 * s])
    vein = tube(np.array([great, (great + hilum) / 2 - (0, 5 * s, 0), hilum]), 4.2 * s)
    canvas.fill(tree_region(canvas, [vein]), Tissue.VEIN)
    # An adrenal gland above, two limbs of a few mm.
    top = center + np.multiply((-side * 22, -12, 52), s)
    for limb in (-1, 1):
        path = np.array([top, top + np.multiply((limb * 9, 16, -14), s)])
        canvas.fill(tree_region(canvas, [tube(path, rng.uniform(2, 3.2) * s)]), Tissue.ADRENAL)


def _paint_spleen(canvas: Canvas, build: Build, rng: np.random.Generator) -> None:
    s = build.scale
    size = float(np.exp(rng.normal(0, 0.16)))
    center = np.multiply((92 + rng.uniform(-6, 6), 38, 24 - 20 * (size - 1)), s)
    whole = _shape(center, np.multiply((36, 54, 56), s * size), rng.uniform(-0.7, -0.3), 3, s, rng)
    hollow = ellipsoid(center + np.multiply((-36 * size, -22 * size, 0), s), np.multiply((34, 32, 44), s * size), -0.5)
    accessory = ellipsoid(center + np.multiply((-38, -10, -30), s), np.full(3, rng.uniform(4, 8) * s))
    has_accessory = rng.random() < 0.15

    def layers(x: ndarray, y: ndarray, z: ndarray) -> Tissues:
        level = np.minimum(np.minimum(whole(x, y, z), -hollow(x, y, z)), build.cavity(x, y) - 1)
        if has_accessory:
            level = np.maximum(level, accessory(x, y, z))
        yield np.minimum(level, build.diaphragm(x, y) - 3 - z), Tissue.SPLEEN

    _paint(canvas, layers, center, 90 * s)


def _paint_pancreas(canvas: Canvas, build: Build, rng: np.random.Generator) -> None:
    s = build.scale
    center = np.multiply((18, -10, -24), s) + rng.normal(0, 4, 3)
    size = rng.uniform(0.75, 1.2)
    body = _shape(center, np.multiply((54, 11 * size, 14 * size), s), rng.uniform(-0.5, -0.1), 4, s, rng)
    head = _shape(np.multiply((-18, -2, -38), s), np.multiply((18, 15, 22), s * size), 0, 3, s, rng)
    lobules, fatty = waves(rng, 1.0, 9 * s, 9), rng.uniform(0.4, 1.6)

    def layers(x: ndarray, y: ndarray, z: ndarray) -> Tissues:
        level = np.maximum(body(x, y, z), head(x, y, z))
        # Fat lies between the lobules, so the edge is frayed.
        yield level - 3 * s * np.clip(1.6 * (lobules(x, y, z) - 0.8), 0, 1), Tissue.PANCREAS
        yield np.minimum(level, 4 * (lobules(x, y, z) - fatty)), Tissue.HAZE

    _paint(canvas, layers, center, 78 * s)
    duodenum = np.multiply([(-22, -30, -32), (-44, -10, -40), (-46, 0, -80), (-10, 8, -100), (16, 6, -90)], s)
    box, level = tree_region(canvas, [tube(duodenum, rng.uniform(9, 13) * s)])
    for depth, tissue in ((0.0, Tissue.WALL), (3.0 * s, Tissue.BOWEL_CONTENT)):
        canvas.fill(Region(box, level - depth), tissue)


def _paint_aorta(canvas: Canvas, build: Build, rng: np.random.Generator) -> None:
    """Paint the aorta, the superior mesenteric artery and vein, the splenic vein, and the muscles along the spine."""
    s = build.scale
    front, end, top = build.spine - 30 * s, -125 * s, build.dome + 80 * s
    calcium = waves(rng, 1.0, 14, 9)
    calcified, wide_aorta = rng.uniform(1.2, 2.4), rng.uniform(8.5, 13) * s

    def layers(x: ndarray, y: ndarray, z: ndarray) -> Tissues:
        for side in (-1, 1):
            # Crura of the diaphragm above, psoas below.
            crus = ellipsoid((side * 13 * s, front + 6 * s, 0), (7 * s, 15 * s, 1e5), 0.4 * side)(x, y, z)
            yield np.minimum(np.minimum(crus, z + 25 * s), build.dome - 20 * s - z), Tissue.MUSCLE
            low = np.clip(-(z + 10 * s) / (60 * s), 0, 1)
            aside = side * (32 + 30 * np.clip(-(z + 90 * s) / (200 * s), 0, 1)) * s
            ahead = 34 * s * np.clip(-(z + 110 * s) / (180 * s), 0, 1)
            psoas = ellipsoid((0, build.spine + 8 * s, 0), (15 * s, 17 * s, 1e5), 0.3 * side)(x - aside, y + ahead, z)
            yield np.minimum(psoas - 15 * s * (1 - low), z - build.hips + 30 * s), Tissue.MUSCLE
        aorta = np.minimum(wide_aorta - np.hypot(x - 14 * s - 0.02 * z, y - front), np.minimum(z - end, top - z))
        yield aorta, Tissue.ARTERY
        plaque = np.minimum(0.9 * s - np.abs(aorta - 0.8), 4 * (calcium(x, y, z) - calcified))
        yield plaque, Tissue.PLAQUE

    canvas.paint(layers, (-90 * s, -40 * s, -1e4), (90 * s, build.spine + 30 * s, 1e4))
    celiac = np.array(
        [(13 * s, front, -6 * s), (6 * s, front - 14 * s, -4 * s), (-14 * s, 2 * s, -8 * s), (-30 * s, 0, -10 * s)]
    )
    root = np.array([13 * s, front - 8 * s, -26 * s])
    down = [root, root + np.multiply((-3, -20, -16), s), root + np.multiply((-7, -28, -90), s)]
    arteries = [tube(np.array(down), 3.6 * s), tube(celiac, 2.6 * s)]
    canvas.fill(tree_region(canvas, arteries), Tissue.ARTERY)
    vein = np.multiply([(4, 14, -30), (-6, 2, -48), (-6, -6, -110)], s)
    splenic = np.multiply([(2, 10, -42), (24, 6, -26), (48, 12, -14), (74, 24, 2)], s)
    veins = [tube(vein, rng.uniform(4.5, 6.5) * s), tube(splenic, rng.uniform(3.5, 5.5) * s)]
    canvas.fill(tree_region(canvas, veins), Tissue.MESENTERIC_VEIN)


def _paint_stomach(canvas: Canvas, build: Build, rng: np.random.Generator) -> None:
    s = build.scale
    full = rng.uniform(0.72, 1.2)
    fundus = _shape(np.multiply((62, 2, 44), s), np.multiply((38, 38, 40), s * full), 0.3, 3, s, rng)
    body = _shape(np.multiply((56, -34, 4), s), np.multiply((30, 30, 48), s * full), 0.3, 3, s, rng)
    antrum = _shape(np.multiply((18, -50, -30), s), np.multiply((46, 17, 17), s * full), -0.1, 2, s, rng)
    folds, crumbs = waves(rng, 1.7 * s, 13 * s, 9), waves(rng, 1.0, 10, 9)
    surface, thickness = rng.uniform(-75, -20) * s, rng.uniform(2.5, 6) * s

    def layers(x: ndarray, y: ndarray, z: ndarray) -> Tissues:
        level = np.maximum(np.maximum(fundus(x, y, z), body(x, y, z)), antrum(x, y, z))
        level = np.minimum(np.minimum(level, build.cavity(x, y) - 2), build.diaphragm(x, y) - 3 - z)
        yield level, Tissue.WALL
        inner = level - thickness + folds(x, y, z)
        yield inner, Tissue.STOMACH_CONTENT
        yield np.minimum(inner, 3 * (crumbs(x, y, z) - 1.9)), Tissue.GAS
        yield np.minimum(inner, surface - y), Tissue.GAS

    canvas.paint(layers, np.multiply((-55, -110, -70), s), np.multiply((125, 65, 110), s))
