"""The vessels of the liver: portal vein, hepatic veins and vena cava."""

from itertools import pairwise

import numpy as np
from numpy import ndarray

from ltvs.phantom.body_build import Build
from ltvs.phantom.canvas import Canvas, Region
from ltvs.phantom.vessel_tree import Tree, grow_tree, spread_points, tube


def hepatic_trees(canvas: Canvas, build: Build, liver: Region, rng: np.random.Generator) -> list[Tree]:
    """Return the portal vein, from below the liver through the hilum, and three hepatic veins, up to the vena cava."""
    s = build.scale
    joint = (-17, 20, 56)
    right = _path(s, joint, (-48, 16, 40), (-74, 8, 14))
    middle = _path(s, joint, (-30, -14, 40), (-42, -34, 12))
    left = _path(s, joint, (-4, -16, 44), (18, -34, 36))
    deep = liver.level > min(4.0, 0.5 * float(liver.level.max()))
    targets = spread_points(deep, canvas, liver.box, 150, 11 * s, rng)
    half = len(targets) // 2
    # Trees fill 2.5 to 5.5% of a liver, as the 19 labeled ones of 3D-IRCADb do (2.4 to 8%, median 3.8%).
    tip, widest = 1.8 * rng.uniform(1.0, 1.4) * np.sqrt(s), 6.8 * s
    trees = [grow_tree(_portal_trunk(s), targets[:half], tip, widest, rng)]
    rest = targets[half:]
    veins = (right, middle, left)
    nearest = np.argmin([np.linalg.norm(rest[:, None] - vein[None], axis=2).min(1) for vein in veins], axis=0)
    return trees + [grow_tree(vein, rest[nearest == k], tip, 5.6 * s, rng) for k, vein in enumerate(veins)]


def portal_vein(build: Build) -> Tree:
    """Return the portal vein before the hilum."""
    return tube(_portal_trunk(build.scale)[:9], 6.8 * build.scale)


def _portal_trunk(s: float) -> ndarray:
    return _path(s, (6, 14, -70), (-2, 10, -40), (-14, 4, -16), (-34, 0, -6), (-58, -2, -4))


def vena_cava(build: Build, rng: np.random.Generator) -> Tree:
    """Return the vena cava, in a groove behind the liver."""
    s = build.scale
    top = (-10, 10, build.dome / s + 24)
    path = _path(s, (-20, 36, -140), (-21, 32, -40), (-20, 26, 20), (-16, 20, 62), top)
    return tube(path, rng.uniform(10.5, 12.5) * s)


def _path(s: float, *points: tuple[float, float, float]) -> ndarray:
    """Return a path through points given for an average patient, with three points more between each two."""
    nodes = np.multiply(points, s)
    return np.concatenate([*(np.linspace(a, b, 5)[:-1] for a, b in pairwise(nodes)), nodes[-1:]])
