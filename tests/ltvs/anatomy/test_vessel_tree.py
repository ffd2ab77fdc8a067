"""Vessel trees: connected, tapering, reaching their targets, as thick as asked."""

import numpy as np
import pytest
from scipy import ndimage

from ltvs.anatomy.canvas import Canvas, ellipsoid
from ltvs.anatomy.vessel_tree import grow_tree, spread_points, tree_region, tube


def canvas() -> Canvas:
    x, y, z = ((np.arange(n) - (n - 1) / 2).astype(np.float32) for n in (60, 52, 44))
    return Canvas(x, y, z)


def test_a_tree_is_connected_tapers_and_reaches_its_targets() -> None:
    volume, rng = canvas(), np.random.default_rng(3)
    inside = volume.region(ellipsoid((0, 0, 0), (26, 22, 18)))
    trunk = np.array([(-28, 0, 0), (-20, 1, 0), (-12, 1, 1), (-4, 0, 2)], dtype=float)
    targets = spread_points(inside.level > 1, volume, inside.box, 24, 7.0, rng)
    assert np.linalg.norm(targets[:, None] - targets[None], axis=-1)[~np.eye(len(targets), dtype=bool)].min() > 7
    tree = grow_tree(trunk, targets, 1.0, 4.0, rng)
    assert (tree.parents[1:] < np.arange(1, len(tree.parents))).all()
    assert (tree.radii[1:] <= tree.radii[tree.parents[1:]] + 1e-9).all()
    assert 1.0 <= tree.radii.min() < 1.2
    assert tree.radii.max() <= 4.0
    # Ends keep their place but for the jitter of 0.8 mm in each direction.
    ends = np.setdiff1d(np.arange(len(tree.parents)), tree.parents)
    gaps = np.linalg.norm(targets[:, None] - tree.points[ends][None], axis=-1).min(axis=0)
    assert len(ends) > 8
    assert gaps.max() < 4
    filled = np.zeros(volume.tissue.shape, dtype=bool)
    box, level = tree_region(volume, [tree])
    filled[box] = level > 0
    # A radius of 1 mm is more than half the diagonal of a voxel, so no branch is broken.
    assert ndimage.label(filled, np.ones((3, 3, 3)))[1] == 1


def test_a_tube_is_as_thick_as_asked() -> None:
    volume = canvas()
    box, level = tree_region(volume, [tube(np.array([(-40.0, 0, 0), (40, 0, 0)]), 5.0)])
    assert level.dtype == np.float32
    assert level.max() == pytest.approx(5 - np.hypot(0.5, 0.5), abs=1e-4)  # the nearest voxels lie half a voxel off
    assert (level > 0).sum() / 60 == pytest.approx(np.pi * 25, rel=0.05)
    assert box[2] == slice(0, 60)
