"""The vessels of the liver: portal vein, hepatic veins and vena cava."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy import ndarray

from ltvs.anatomy.build import Build
from ltvs.anatomy.canvas import HIGHEST, LOWEST, Canvas, Level
from ltvs.anatomy.vessel_tree import Tree, grow_tree, spread_points, tube


@dataclass(frozen=True)
class LiverVessels:
    """The trees of a liver, which go on outside it."""

    portal: list[Tree]
    hepatic: list[Tree]
    cava: Tree


def grow_vessels(build: Build, liver: Level, rng: np.random.Generator) -> LiverVessels:
    """Return the portal vein, from below the liver through the hilum, three hepatic veins, and the vena cava.

    The points they reach are drawn on a grid of their own, so that a patient has the same vessels on every canvas.

    Args:
        build: of the patient.
        liver: mm to its surface.
        rng: decides the trees.
    """
    s = build.scale
    steps = np.arange(-140, 141, 3.0, dtype=np.float32) * s
    coarse = Canvas(steps, steps, steps)
    level = coarse.region(liver).level
    joint = (-17, 20, 56)
    veins = [
        _path(s, joint, (-48, 16, 40), (-74, 8, 14)),
        _path(s, joint, (-30, -14, 40), (-42, -34, 12)),
        _path(s, joint, (-4, -16, 44), (18, -34, 36)),
    ]
    deep = level > min(4.0, 0.5 * float(level.max()))
    targets = spread_points(deep, coarse, coarse.box(LOWEST, HIGHEST), int(rng.integers(110, 180)), 11 * s, rng)
    half = len(targets) // 2
    # Trees fill 2.5 to 5.5% of a liver, as the 19 labeled ones of 3D-IRCADb do (2.4 to 8%, median 3.8%).
    tip, widest = 1.8 * rng.uniform(0.9, 1.4) * np.sqrt(s), rng.uniform(5.8, 7.6) * s
    portal = [grow_tree(_portal_trunk(s), targets[:half], tip, widest, rng)]
    rest = targets[half:]
    nearest = np.argmin([np.linalg.norm(rest[:, None] - vein[None], axis=2).min(1) for vein in veins], axis=0)
    hepatic = [grow_tree(vein, rest[nearest == k], tip, 0.82 * widest, rng) for k, vein in enumerate(veins)]
    return LiverVessels(portal, hepatic, _vena_cava(build, rng))


def outer_vessels(build: Build, rng: np.random.Generator) -> LiverVessels:
    """Return the portal vein before the hilum, and the vena cava, around a liver whose vessels are given."""
    return LiverVessels([tube(_portal_trunk(build.scale)[:9], 6.8 * build.scale)], [], _vena_cava(build, rng))


def _portal_trunk(s: float) -> ndarray:
    return _path(s, (6, 14, -70), (-2, 10, -40), (-14, 4, -16), (-34, 0, -6), (-58, -2, -4))


def _vena_cava(build: Build, rng: np.random.Generator) -> Tree:
    """Return the vena cava, in a groove behind the liver."""
    s = build.scale
    top = (-10, 10, build.dome / s + 24)
    path = _path(s, (-16, 34, -122), (-21, 32, -40), (-20, 26, 20), (-16, 20, 62), top)
    return tube(path, rng.uniform(10.5, 12.5) * s)


def _path(s: float, *points: tuple[float, float, float]) -> ndarray:
    """Return a path through points given for an average patient, with three points more between each two."""
    nodes = np.multiply(points, s)
    return np.concatenate([*(np.linspace(a, b, 5)[:-1] for a, b in pairwise(nodes)), nodes[-1:]])
