"""Skin, subcutaneous fat, the muscles of the trunk, and the table the patient lies on."""

import numpy as np
from numpy import ndarray

from ltvs.anatomy.build import Build
from ltvs.anatomy.canvas import Canvas, Tissues, smooth_min, waves
from ltvs.anatomy.tissues import Tissue


def paint_wall(canvas: Canvas, build: Build, rng: np.random.Generator) -> None:
    """Paint the table and the wall of the trunk, and fat where the organs will be."""
    s = build.scale
    folds, strands = waves(rng, 1.6, 130), waves(rng, 1.0, 13, 9)
    streaks, thickness = waves(rng, 1.0, 19, 8), waves(rng, 2.2 * s, 60)
    ripple, glands = waves(rng, 4.0 * s, 55 * s), waves(rng, 1.0, 26, 8)
    muscle_width, lean_wall = rng.uniform(7, 15) * s, rng.uniform(0.0, 0.2)

    def layers(x: ndarray, y: ndarray, z: ndarray) -> Tissues:
        outline = build.outline(x, y, z) + folds(x, y, z)
        yield outline, Tissue.SKIN
        yield outline - 2.0, Tissue.FAT
        # Fibrous septa, where a smooth field passes zero, and the glands of the breasts.
        yield np.minimum(outline - 2.0, 0.5 - 8 * np.abs(strands(x, y, z))), Tissue.HAZE
        if build.breasts:
            front = np.minimum(outline - 12, -0.86 * build.half_depth - y)
            yield np.minimum(front, 6 * glands(x, y, z)), Tissue.ORGAN
        angle = np.arctan2(y, x)
        width, depth = build.profile(z)
        cavity = build.cavity(x / width, y / depth)
        midline = 7 * np.exp(-((x / (5 * s)) ** 2)) * (y < 0)
        muscle = cavity + muscle_width + 2 * np.cos(3 * angle) - midline + thickness(x, y, z)
        lean = 1.4 - streaks(x, y, z)
        for side in (-1, 1):
            column = np.minimum(build.back_muscle(side)(x, y, z) + 0.4 * thickness(x, y, z), outline - 7)
            yield column, Tissue.MUSCLE
            yield np.minimum(column, -8 * lean), Tissue.FAT
        # Two sheets with fat between them.
        sheets = np.minimum(muscle, outline - 5)
        yield sheets, Tissue.MUSCLE
        yield np.minimum(sheets, -8 * lean), Tissue.HAZE
        yield 0.9 * s - np.abs(sheets - 0.55 * muscle_width + 0.3 * thickness(x, y, z)), Tissue.HAZE
        # Above the chest and below the pelvis there is no cavity.
        closed = smooth_min(build.shoulders + 25 * s - z, z - build.hips + 30 * s, 30 * s)
        yield np.minimum(cavity + lean_wall * ripple(x, y, z), closed), Tissue.FAT

    top, thick, far = build.half_depth + rng.uniform(4, 16), rng.uniform(14, 40), rng.uniform(0.0004, 0.0012)
    foam = rng.random() < 0.6

    def table(x: ndarray, y: ndarray, _: ndarray) -> Tissues:
        depth = y - top + far * x**2
        if foam:
            yield thick / 2 - np.abs(depth - thick / 2), Tissue.FOAM
        for sheet in (0.0, thick):
            yield 1.1 - np.abs(depth - sheet), Tissue.TABLE

    canvas.paint(table)
    canvas.paint(layers)
