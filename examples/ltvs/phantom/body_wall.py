"""Skin, subcutaneous fat, the muscles of the trunk, and the table the patient lies on."""

import numpy as np
from numpy import ndarray

from ltvs.phantom.body_build import Build
from ltvs.phantom.canvas import Canvas, Tissues, waves

FAT, MUSCLE = -102.0, 58.0


def paint_body_wall(canvas: Canvas, build: Build, rng: np.random.Generator) -> None:
    """Paint the table and the wall of the trunk, and fat where the organs will be."""
    s = build.scale
    folds, septa, strands = waves(rng, 1.6, 130), waves(rng, 7.0, 24), waves(rng, 1.0, 13, 9)
    fibers, streaks, thickness = waves(rng, 7.0, 8), waves(rng, 1.0, 19, 8), waves(rng, 2.2 * s, 60)
    ripple, mesentery = waves(rng, 4.0 * s, 55 * s), waves(rng, 8.0, 17)

    def layers(x: ndarray, y: ndarray, z: ndarray) -> Tissues:
        outline = build.outline(x, y) + folds(x, y, z)
        yield outline, 20.0
        # Fibrous septa: where a smooth field passes zero.
        yield outline - 2.0, FAT + septa(x, y, z) + 26 * np.exp(-((strands(x, y, z) / 0.10) ** 2))
        angle = np.arctan2(y, x)
        cavity = build.cavity(x, y)
        midline = 7 * np.exp(-((x / (5 * s)) ** 2)) * (y < 0)
        muscle = cavity + 9.5 * s + 2 * np.cos(3 * angle) - midline + thickness(x, y, z)
        flesh = MUSCLE + fibers(x, y, z) - 120 * np.clip(2.2 * (streaks(x, y, z) - 1.25), 0, 1)
        for side in (-1, 1):
            column = build.back_muscle(side)(x, y, z) + 0.4 * thickness(x, y, z)
            yield np.minimum(column, outline - 7), flesh
        # Two sheets with fat between them.
        sheets = np.minimum(muscle, outline - 5)
        yield sheets, flesh
        yield 0.9 * s - np.abs(sheets - 5.5 * s + 0.3 * thickness(x, y, z)), FAT + 55
        yield cavity + 0.2 * ripple(x, y, z), FAT + 5 + mesentery(x, y, z)

    def table(x: ndarray, y: ndarray, _: ndarray) -> Tissues:
        top = build.half_depth + 9 - 0.0009 * x**2
        for depth, hu in ((0, -150.0), (26, -250.0)):
            yield 0.9 - np.abs(y - top - depth), hu

    canvas.paint(table)
    canvas.paint(layers)
