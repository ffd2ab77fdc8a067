"""Colon and small bowel, and the vessels in the fat between them."""

import numpy as np
from numpy import ndarray
from scipy.ndimage import gaussian_filter1d

from ltvs.phantom.body_build import Build
from ltvs.phantom.body_wall import FAT
from ltvs.phantom.canvas import Canvas, Region, waves
from ltvs.phantom.vessel_tree import Tree, grow_tree, tree_region, tube

GAS = -920.0


def paint_bowel(canvas: Canvas, build: Build, rng: np.random.Generator) -> None:
    """Paint the mesentery, then loops of small bowel, then the colon around them."""
    s = build.scale
    loops = [_loop(build, rng) for _ in range(24)]
    _paint_mesentery(canvas, build, loops, rng)
    for loop in loops:
        _paint_small_bowel(canvas, build, loop, rng)
    front = -0.62 * build.half_depth / s
    side = (build.half_width - build.wall) / s - 24
    ascending = [(-side + 4, 22, -150), (-side + 2, 14, -110), (-side + 14, -2, -74)]
    across = [(-70, front + 26, -84), (-24, front + 12, -82), (30, front + 12, -66), (70, front + 28, -34)]
    descending = [(side - 10, -18, 6), (side - 2, 12, -6), (side, 26, -50), (side, 26, -150)]
    _paint_colon(canvas, build, np.array([*ascending, *across, *descending]) * s, rng)


def _loop(build: Build, rng: np.random.Generator) -> Tree:
    """Return a loop of small bowel: a smooth random path, below the pancreas or in front of the left kidney."""
    s = build.scale
    high = rng.random() < 0.3
    low, top = ((15, -70, -90), (85, 5, -25)) if high else ((-85, -85, -135), (90, 15, -52))
    start = rng.uniform(low, top)
    steps = gaussian_filter1d(rng.normal(0, 34, (34, 3)) * (1, 0.8, 0.7), 4, axis=0)
    path = np.clip(start + np.cumsum(steps, axis=0), low, top) * s
    path = gaussian_filter1d(path, 1.5, axis=0)
    radii = s * (rng.uniform(9, 13) + gaussian_filter1d(rng.normal(0, 3, len(path)), 1.5))
    return tube(path, np.maximum(radii, 6 * s))


def _paint_mesentery(canvas: Canvas, build: Build, loops: list[Tree], rng: np.random.Generator) -> None:
    """Paint vessels that fan out to the loops, with slightly hazy fat around them."""
    s = build.scale
    targets = np.concatenate([loop.points[::3] for loop in loops])
    targets = targets + rng.normal(0, 9 * s, targets.shape)
    trunk = np.linspace((8, -2, -40), (0, -14, -120), 9) * s
    for shift, hu in ((0.0, 130.0), (5.0, 145.0)):
        tree = grow_tree(trunk + shift * s, targets + shift * s, 1.4 * s, 4.2 * s, rng)
        box, level = tree_region(canvas, [tree])
        x, y, _ = canvas.coordinates(box)
        level = np.minimum(level, build.cavity(x, y) - 4)
        canvas.blend(Region(box, 0.5 * (level + 1.5)), FAT + 40)
        canvas.blend(Region(box, level), hu)


def _paint_small_bowel(canvas: Canvas, build: Build, loop: Tree, rng: np.random.Generator) -> None:
    s = build.scale
    box, level = tree_region(canvas, [loop])
    x, y, z = canvas.coordinates(box)
    level = np.minimum(level, build.cavity(x, y) - 3) + waves(rng, 0.8 * s, 13 * s)(x, y, z)
    folds = waves(rng, 1.0 * s, 9 * s)(x, y, z)
    canvas.blend(Region(box, level), rng.uniform(72, 108) + waves(rng, 5, 15)(x, y, z))
    inner = level - rng.uniform(2.2, 4.5) * s + folds
    canvas.blend(Region(box, inner), rng.uniform(12, 55) + waves(rng, 9, 11)(x, y, z))
    if rng.random() < 0.25:
        middle = float(loop.points[:, 1].mean())
        canvas.blend(Region(box, np.minimum(inner, middle - 2 * s - y)), GAS)


def _paint_colon(canvas: Canvas, build: Build, corners: ndarray, rng: np.random.Generator) -> None:
    """Paint the colon along its corners, (n, 3) mm: haustra, a thin wall, stool with bubbles, gas in front."""
    s = build.scale
    t = np.linspace(0, len(corners) - 1, 26 * len(corners))
    path = np.stack([np.interp(t, np.arange(len(corners)), axis) for axis in corners.T], axis=1)
    path = gaussian_filter1d(path + gaussian_filter1d(rng.normal(0, 30 * s, path.shape), 9, axis=0), 7, axis=0)
    length = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))])
    haustra = 2.6 * s * np.abs(np.sin(np.pi * length / (27 * s)))
    radii = 14.5 * s + haustra + 2.5 * s * gaussian_filter1d(rng.normal(0, 5, len(path)), 12)
    filling = gaussian_filter1d(rng.normal(0, 6, len(path)), 14)
    for part in np.array_split(np.arange(len(path)), 10):
        nodes = np.arange(max(part[0] - 3, 0), part[-1] + 1)
        tree = tube(path[nodes], np.maximum(radii[nodes], 9 * s))
        _paint_colon_piece(canvas, build, tree, float(filling[part].mean()), rng)


def _paint_colon_piece(canvas: Canvas, build: Build, tree: Tree, filling: float, rng: np.random.Generator) -> None:
    """Paint wall, stool and gas of a piece of colon; gas reaches further back where `filling` is higher."""
    s = build.scale
    box, level = tree_region(canvas, [tree])
    if 0 in level.shape:
        return
    x, y, z = canvas.coordinates(box)
    level = np.minimum(level, build.cavity(x, y) - 2) + waves(rng, 0.7 * s, 16 * s)(x, y, z)
    canvas.blend(Region(box, level), 66.0)
    inner = level - 2.0 * s
    bubbles = np.clip(waves(rng, 1.0, 7.5, 12)(x, y, z) - 0.35, 0, 1)
    canvas.blend(Region(box, inner), 48 + waves(rng, 14, 12)(x, y, z) - 560 * bubbles)
    surface = float(tree.points[:, 1].mean()) + (filling - 0.2) * 7 * s
    canvas.blend(Region(box, np.minimum(inner, surface - y)), GAS)
