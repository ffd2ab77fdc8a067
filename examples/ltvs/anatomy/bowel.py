"""Colon and small bowel, and the vessels in the fat between them."""

import numpy as np
from numpy import ndarray
from scipy.ndimage import gaussian_filter1d

from ltvs.anatomy.build import Build
from ltvs.anatomy.canvas import Canvas, Region, smooth_min, waves
from ltvs.anatomy.tissues import Tissue
from ltvs.anatomy.vessel_tree import Tree, grow_tree, tree_region, tube

#: Corners, mm at scale 1, between which loops of small bowel lie, and the share of the loops there.
_PLACES = (
    ((15, -70, -90), (85, 5, -25), 0.2),
    ((-85, -85, -135), (90, 15, -52), 0.4),
    ((-80, -80, -245), (80, 15, -120), 0.4),
)


def paint_bowel(canvas: Canvas, build: Build, rng: np.random.Generator) -> None:
    """Paint the mesentery, then loops of small bowel, then the colon around them."""
    s = build.scale
    loops = [_loop(build, rng) for _ in range(int(rng.integers(22, 44)))]
    _paint_mesentery(canvas, build, loops, rng)
    for loop in loops:
        _paint_small_bowel(canvas, build, loop, rng)
    front = -0.62 * build.half_depth / s
    side = (build.half_width - build.wall) / s - 24
    ascending = [(-side + 14, 0, -205), (-side + 4, 22, -150), (-side + 2, 14, -110), (-side + 14, -2, -74)]
    across = [(-70, front + 26, -84), (-24, front + 12, -82), (30, front + 12, -66), (70, front + 28, -34)]
    descending = [(side - 10, -18, 6), (side - 2, 12, -6), (side, 26, -50), (side, 26, -150), (side - 14, 0, -210)]
    sigmoid = [(40, -14, -240), (4, 6, -232), (-12, 38, -250), (0, 48, -300)]
    corners = np.array([*ascending, *across, *descending, *sigmoid]) * s
    _paint_colon(canvas, build, corners + rng.normal(0, 6 * s, corners.shape), rng)


def _within(build: Build, x: ndarray, y: ndarray, z: ndarray) -> ndarray:
    """Return mm to what holds the bowel, positive inside: the body wall, and the narrower pelvis."""
    s = build.scale
    pelvis = 1 + np.clip(-(z + 150 * s) / (130 * s), 0, 1) * 0.75
    return np.asarray(smooth_min(build.cavity(x * pelvis, y), z - build.hips + 20 * s, 10 * s))


def _loop(build: Build, rng: np.random.Generator) -> Tree:
    """Return a loop of small bowel: a smooth random path in one of the places."""
    s = build.scale
    low, top, _ = _PLACES[int(rng.choice(len(_PLACES), p=[share for *_, share in _PLACES]))]
    start = rng.uniform(low, top)
    steps = gaussian_filter1d(rng.normal(0, 34, (34, 3)) * (1, 0.8, 0.7), 4, axis=0)
    path = np.clip(start + np.cumsum(steps, axis=0), low, top) * s
    path = gaussian_filter1d(path, 1.5, axis=0)
    radii = s * (rng.uniform(8, 15) + gaussian_filter1d(rng.normal(0, 3, len(path)), 1.5))
    return tube(path, np.maximum(radii, 6 * s))


def _paint_mesentery(canvas: Canvas, build: Build, loops: list[Tree], rng: np.random.Generator) -> None:
    """Paint vessels that fan out to the loops, with slightly hazy fat around them."""
    s = build.scale
    targets = np.concatenate([loop.points[::3] for loop in loops])
    targets = targets + rng.normal(0, 9 * s, targets.shape)
    trunk = np.linspace((8, -2, -40), (0, -14, -120), 9) * s
    for shift, tissue in ((0.0, Tissue.VEIN), (5.0, Tissue.ARTERY)):
        tree = grow_tree(trunk + shift * s, targets + shift * s, 1.2 * s, 4.2 * s, rng)
        box, level = tree_region(canvas, [tree])
        level = np.minimum(level, _within(build, *canvas.coordinates(box)) - 4)
        canvas.fill(Region(box, level + 1.5), Tissue.HAZE)
        canvas.fill(Region(box, level), tissue)


def _paint_small_bowel(canvas: Canvas, build: Build, loop: Tree, rng: np.random.Generator) -> None:
    s = build.scale
    uneven, folds = waves(rng, 0.8 * s, 13 * s), waves(rng, 1.0 * s, 9 * s)
    thickness, gas = rng.uniform(1.8, 4.5) * s, rng.random() < 0.25
    box, level = tree_region(canvas, [loop])
    if 0 in level.shape:
        return
    x, y, z = canvas.coordinates(box)
    level = np.minimum(level, _within(build, x, y, z) - 3) + uneven(x, y, z)
    canvas.fill(Region(box, level), Tissue.WALL)
    inner = level - thickness + folds(x, y, z)
    canvas.fill(Region(box, inner), Tissue.BOWEL_CONTENT)
    if gas:
        middle = float(loop.points[:, 1].mean())
        canvas.fill(Region(box, np.minimum(inner, middle - 2 * s - y)), Tissue.GAS)


def _paint_colon(canvas: Canvas, build: Build, corners: ndarray, rng: np.random.Generator) -> None:
    """Paint the colon along its corners, (n, 3) mm: haustra, a thin wall, stool with bubbles, gas in front."""
    s = build.scale
    t = np.linspace(0, len(corners) - 1, 26 * len(corners))
    path = np.stack([np.interp(t, np.arange(len(corners)), axis) for axis in corners.T], axis=1)
    path = gaussian_filter1d(path + gaussian_filter1d(rng.normal(0, 30 * s, path.shape), 9, axis=0), 7, axis=0)
    length = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))])
    haustra = 2.6 * s * np.abs(np.sin(np.pi * length / (27 * s)))
    radii = rng.uniform(0.75, 1.35) * (14.5 * s + haustra) + 2.5 * s * gaussian_filter1d(
        rng.normal(0, 5, len(path)), 12
    )
    filling = rng.normal(0, 4) + gaussian_filter1d(rng.normal(0, 6, len(path)), 14)
    for part in np.array_split(np.arange(len(path)), 14):
        nodes = np.arange(max(part[0] - 3, 0), part[-1] + 1)
        tree = tube(path[nodes], np.maximum(radii[nodes], 8 * s))
        _paint_colon_piece(canvas, build, tree, float(filling[part].mean()), rng)


def _paint_colon_piece(canvas: Canvas, build: Build, tree: Tree, filling: float, rng: np.random.Generator) -> None:
    """Paint wall, stool and gas of a piece of colon; gas reaches further back where `filling` is higher."""
    s = build.scale
    uneven, bubbles = waves(rng, 0.7 * s, 16 * s), waves(rng, 1.0, 7.5, 12)
    box, level = tree_region(canvas, [tree])
    if 0 in level.shape:
        return
    x, y, z = canvas.coordinates(box)
    level = np.minimum(level, _within(build, x, y, z) - 2) + uneven(x, y, z)
    canvas.fill(Region(box, level), Tissue.WALL)
    inner = level - 2.0 * s
    canvas.fill(Region(box, inner), Tissue.STOOL)
    canvas.fill(Region(box, np.minimum(inner, 3 * (bubbles(x, y, z) - 1.1))), Tissue.GAS)
    surface = float(tree.points[:, 1].mean()) + (filling - 0.2) * 7 * s
    canvas.fill(Region(box, np.minimum(inner, surface - y)), Tissue.GAS)
