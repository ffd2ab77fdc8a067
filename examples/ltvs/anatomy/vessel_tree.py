"""Vessel trees that branch and taper, grown toward points spread over an organ."""

from dataclasses import dataclass

import numpy as np
from numpy import ndarray
from scipy.spatial import cKDTree

from ltvs.anatomy.canvas import Box, Canvas, Region


@dataclass(frozen=True)
class Tree:
    """Nodes in mm, (n, 3) as x, y, z; the parent of each (itself for the root); radius of the branch to its parent."""

    points: ndarray
    parents: ndarray
    radii: ndarray


def tube(points: ndarray, radius: float | ndarray) -> Tree:
    """Return a tree without branches along a path, (n, 3) mm, with one radius or one per point."""
    return Tree(points, np.maximum(np.arange(len(points)) - 1, 0), np.broadcast_to(radius, len(points)))


def grow_tree(trunk: ndarray, targets: ndarray, tip: float, widest: float, rng: np.random.Generator) -> Tree:
    """Return a tree from `trunk`, a path of points, that reaches every target.

    Each target, from the nearest to the trunk outwards, is joined to the cheapest node: near, and not far along the
    tree. Branches are then pulled taut, thick ones least, and radii follow Murray's law, r^k = sum of r_child^k.

    Args:
        trunk: (n, 3) mm, from the root on.
        targets: (m, 3) mm.
        tip: radius of a terminal branch, mm.
        widest: largest radius of the trunk, mm.
        rng: decides the jitter of the nodes.
    """
    # Room for all nodes: a target is nowhere joined at a higher cost than at the root, which is its distance.
    farthest = np.linalg.norm(targets - trunk[0], axis=1)
    room = len(trunk) + int(np.maximum(1, farthest / 6).sum())
    nodes, path = np.empty((room, 3)), np.zeros(room)
    upward = np.zeros(room, dtype=int)
    count = len(trunk)
    nodes[:count], upward[1:count] = trunk, np.arange(count - 1)
    path[1:count] = np.cumsum(np.linalg.norm(np.diff(trunk, axis=0), axis=1))
    for target in targets[np.argsort(cKDTree(trunk).query(targets)[0])]:
        gaps = np.linalg.norm(nodes[:count] - target, axis=1)
        joint = int(np.argmin(gaps + 0.25 * path[:count]))
        steps = max(1, int(gaps[joint] / 6))
        added = slice(count, count + steps)
        share = np.arange(1, steps + 1)[:, None] / steps
        nodes[added] = nodes[joint] + (target - nodes[joint]) * share
        upward[added] = [joint, *range(count, count + steps - 1)]
        path[added] = path[joint] + gaps[joint] * share[:, 0]
        count += steps
    nodes, upward = nodes[:count], upward[:count]
    radii = _murray(upward, tip, widest)
    return Tree(_relax(nodes, upward, radii, len(trunk), rng), upward, radii)


#: Exponent of Murray's law: 3 in theory, somewhat less in the trees of livers.
_MURRAY = 2.7


def _murray(parents: ndarray, tip: float, widest: float) -> ndarray:
    """Return the radii by Murray's law; nodes come after their parents, so one backward sweep adds the powers up."""
    powers = np.zeros(len(parents))
    children = np.bincount(parents[1:], minlength=len(parents))
    for node in range(len(parents) - 1, 0, -1):
        if children[node] == 0:
            powers[node] = tip**_MURRAY
        powers[parents[node]] += powers[node]
    return np.minimum(powers ** (1 / _MURRAY), widest)


def _relax(points: ndarray, parents: ndarray, radii: ndarray, fixed: int, rng: np.random.Generator) -> ndarray:
    """Jitter all nodes but the first `fixed`, then pull the branches taut."""
    points = points + rng.normal(0, 0.8, points.shape) * (np.arange(len(points)) >= fixed)[:, None]
    nodes = np.arange(fixed, len(points))
    children = np.bincount(parents[1:], minlength=len(parents))
    inner = nodes[children[nodes] > 0]
    weights = (radii**1.5)[:, None]
    for _ in range(8):
        total, weight = np.zeros_like(points), np.zeros((len(points), 1))
        np.add.at(total, parents[1:], weights[1:] * points[1:])
        np.add.at(weight, parents[1:], weights[1:])
        total += weights * points[parents]
        weight += weights
        points = points.copy()
        points[inner] = 0.5 * points[inner] + 0.5 * total[inner] / weight[inner]
    return points


def tree_region(canvas: Canvas, trees: list[Tree]) -> Region:
    """Return mm to the surface of the trees, positive inside; -3 mm and less is not resolved."""
    reach = 3.0
    ends = np.concatenate([tree.points for tree in trees])
    widest = max(float(tree.radii.max()) for tree in trees) + reach
    box = canvas.box(ends.min(0) - widest, ends.max(0) + widest)
    level = np.full([s.stop - s.start for s in box], -reach, dtype=np.float32)
    for tree in trees:
        for node in range(1, len(tree.points)):
            _add_branch(canvas, Region(box, level), tree, node, reach)
    return Region(box, level)


def _add_branch(canvas: Canvas, region: Region, tree: Tree, node: int, reach: float) -> None:
    """Add the branch that ends in a node to a region."""
    (a, b), (radius_a, radius_b) = (values[[tree.parents[node], node]] for values in (tree.points, tree.radii))
    radius_a = min(radius_a, 1.35 * radius_b)  # the parent may lie on the trunk, which is much thicker
    wide = max(radius_a, radius_b) + reach
    local = canvas.box(np.minimum(a, b) - wide, np.maximum(a, b) + wide)
    x, y, z = (c - float(o) for c, o in zip(canvas.coordinates(local), a, strict=True))
    u, v, w = (float(length) for length in b - a)
    t = np.clip((x * u + y * v + z * w) / max(u * u + v * v + w * w, 1e-6), 0, 1)
    distance = np.sqrt((x - t * u) ** 2 + (y - t * v) ** 2 + (z - t * w) ** 2)
    target = tuple(slice(s.start - o.start, s.stop - o.start) for s, o in zip(local, region.box, strict=True))
    level = region.level[target]
    np.maximum(level, float(radius_a) + t * float(radius_b - radius_a) - distance, out=level)


def spread_points(
    inside: ndarray, canvas: Canvas, box: Box, count: int, gap: float, rng: np.random.Generator
) -> ndarray:
    """Return `count` points (fewer if they do not fit) in a mask, more than `gap` mm from each other; (n, 3) mm."""
    candidates = np.argwhere(inside)
    candidates = candidates[rng.permutation(len(candidates))[: 60 * count]]
    x, y, z = canvas.x[box[2]], canvas.y[box[1]], canvas.z[box[0]]
    points = np.stack([x[candidates[:, 2]], y[candidates[:, 1]], z[candidates[:, 0]]], axis=1)
    chosen: list[ndarray] = []
    for point in points:
        if len(chosen) == count:
            break
        if not chosen or np.min(np.sum((np.array(chosen) - point) ** 2, axis=1)) > gap**2:
            chosen.append(point)
    return np.array(chosen)
