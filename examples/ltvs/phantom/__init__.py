"""A made patient: a portal-venous CT in HU with its liver, vessel and tumour masks, decided by a seed alone.

Not a model of physics: the body is painted tissue by tissue from smooth shapes, with the contrasts and the noise of
real portal-venous CT, so that what is learned on it has to cope with what makes livers hard.
"""

import numpy as np
import SimpleITK as sitk
from numpy import ndarray

from ltvs.case import Case
from ltvs.errors import InputError
from ltvs.grids import Grid
from ltvs.labels import VESSEL
from ltvs.phantom.body import Build, paint_body
from ltvs.phantom.liver import anatomy_levels, made_liver
from ltvs.phantom.noise import scan
from ltvs.phantom.space import Level, Space, waves
from ltvs.phantom.tumors import make_tumors
from ltvs.phantom.vessels import Tree, grow, spread, tree_level

__all__ = ["make_phantom"]


def make_phantom(
    seed: int, *, matrix: int = 512, slice_spacing: float | None = None, anatomy: sitk.Image | None = None
) -> Case:
    """A CT phantom.

    Args:
        seed: decides everything; 0 or more.
        matrix: rows and columns; the field of view stays, 0.62-0.82 mm times 512.
        slice_spacing: mm; drawn from 0.8-2 mm if None.
        anatomy: label map of a real liver (above 0) and its vessels (2) to build around; made ones if None.

    Returns:
        The CT with masks of the liver, its vessels (which go on outside it) and its tumours.

    Raises:
        InputError: a matrix too small to show a liver, a spacing that is not positive, or a negative seed.
    """
    if seed < 0:
        raise InputError(f"phantom: expected a seed of 0 or more; got {seed}")
    if matrix < 64:
        raise InputError(f"phantom: expected a matrix of 64 or more; got {matrix}")
    if slice_spacing is not None and not slice_spacing > 0:
        raise InputError(f"phantom: expected a slice spacing above 0 mm; got {slice_spacing}")
    rng = np.random.default_rng(seed)
    spacing = rng.uniform(0.62, 0.82) * 512 / matrix
    drawn = float(rng.choice([0.8, 1.0, 1.25, 1.5, 2.0], p=[0.25, 0.4, 0.1, 0.1, 0.15]))
    build = _draw_build(spacing * matrix, rng)
    liver, real_vessels, (low, high) = _liver(anatomy, build, rng)
    step = drawn if slice_spacing is None else slice_spacing
    space = _make_space(matrix, spacing, step, low, high)

    paint_body(space, build, rng)
    liver_box, liver_level, vessel_level, tumor_level = _paint_liver(space, build, liver, real_vessels, rng)
    # Of voxels of 0.74 mm, as measured in a real liver; larger voxels average over more photons.
    hu = scan(space.hu, rng.uniform(19, 25) * np.sqrt(0.74 / max(spacing, 0.74)), rng)
    masks = _masks(space, liver_box, liver_level, vessel_level, tumor_level)
    grid = Grid(
        (matrix, matrix, len(space.z)), (spacing, spacing, step),
        (float(space.x[0]), float(space.y[0]), float(space.z[0])), (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0),
    )  # fmt: skip
    ct = np.clip(np.round(hu), -1024, 3071).astype(np.int16)
    images = [grid.place(sitk.GetImageFromArray(array)) for array in (ct, *masks)]
    return Case(f"phantom-{seed:04d}", *images)


def _draw_build(field_of_view: float, rng: np.random.Generator) -> Build:
    half_width = 0.5 * field_of_view * rng.uniform(0.86, 0.93)
    # Organs grow less than the body around them.
    scale = (half_width / rng.uniform(160, 172)) ** 0.6
    return Build(
        half_width, half_width * rng.uniform(0.73, 0.82), rng.uniform(9, 22) * scale, scale, rng.uniform(82, 98) * scale
    )


def _liver(
    anatomy: sitk.Image | None, build: Build, rng: np.random.Generator
) -> tuple[Level, Level | None, tuple[float, float]]:
    """Level functions of the liver and, where they are given, its vessels; lowest and highest z of the volume."""
    if anatomy is None:
        s = build.scale
        return made_liver(build, rng), None, (-102 * s, build.dome + 18)
    liver, vessels, half = anatomy_levels(anatomy, VESSEL)
    return liver, vessels, (4 - half[2] - 20, 4 + half[2] + 20)


def _make_space(matrix: int, spacing: float, step: float, low: float, high: float) -> Space:
    across = (np.arange(matrix) - (matrix - 1) / 2) * spacing
    return Space(across.astype(np.float32), across.astype(np.float32), np.arange(low, high, step).astype(np.float32))


def _paint_liver(
    space: Space, build: Build, liver: Level, real_vessels: Level | None, rng: np.random.Generator
) -> tuple[tuple[slice, slice, slice], ndarray, tuple, list]:
    s = build.scale
    half = (build.half_width, build.half_depth, 1e4)
    box, level = space.level(liver, np.negative(half), half)
    inside = np.argwhere(level > -4)
    keep = tuple(slice(int(a), int(b) + 1) for a, b in zip(inside.min(0), inside.max(0), strict=True))
    box = tuple(slice(o.start + k.start, o.start + k.stop) for o, k in zip(box, keep, strict=True))
    level = np.ascontiguousarray(level[keep])
    x, y, z = space.coordinates(box)
    liver_hu = rng.uniform(94, 112)
    space.paint(box, level, liver_hu + waves(rng, 3.0, 30 * s)(x, y, z) + waves(rng, 2.0, 9)(x, y, z))

    blood = liver_hu + rng.uniform(42, 58)
    trees = _trees(space, build, box, level, rng)
    outside = (
        trees if real_vessels is None else [Tree(t.points[:n], t.parents[:n], t.radii[:n]) for t, n in _trunks(trees)]
    )
    vessel_box, vessel_level = tree_level(space, outside)
    if real_vessels is not None:
        local = space.level(real_vessels, (-1e4,) * 3, (1e4,) * 3)[1]
        everything = np.full(space.hu.shape, -3.0, dtype=np.float32)
        everything[vessel_box] = vessel_level
        inner = np.full(space.hu.shape, -3.0, dtype=np.float32)
        inner[box] = level
        vessel_box, vessel_level = (
            space.box((-1e4,) * 3, (1e4,) * 3),
            np.maximum(everything, np.where(inner > -2, local, -3)),
        )
    vx, vy, vz = space.coordinates(vessel_box)
    space.paint(vessel_box, vessel_level, blood + waves(rng, 3.0, 25)(vx, vy, vz))

    tumors = make_tumors(space, box, level, liver_hu, s, rng)
    for tumor in tumors:
        space.paint(tumor.box, tumor.level, tumor.hu)
    return box, level, (vessel_box, vessel_level), tumors


def _trees(space: Space, build: Build, box: tuple, level: ndarray, rng: np.random.Generator) -> list[Tree]:
    """Portal vein from below the liver through the hilum; hepatic veins to a vena cava that passes behind it."""
    s = build.scale

    def path(*points: tuple[float, float, float]) -> ndarray:
        nodes = np.multiply(points, s)
        return np.concatenate(
            [np.linspace(a, b, 5)[:-1] for a, b in zip(nodes[:-1], nodes[1:], strict=True)] + [nodes[-1:]]
        )

    portal = path((6, 14, -70), (-2, 10, -40), (-14, 4, -16), (-34, 0, -6), (-58, -2, -4))
    cava = path((-20, 36, -140), (-21, 32, -40), (-20, 26, 20), (-16, 20, 62), (-10, 10, build.dome / s + 24))
    joint = (-17, 20, 56)
    right = path(joint, (-48, 16, 40), (-74, 8, 14))
    middle = path(joint, (-30, -14, 40), (-42, -34, 12))
    left = path(joint, (-4, -16, 44), (18, -34, 36))
    deep = (level > 4) if (level > 4).any() else level > 0
    targets = spread(deep, space, box, 140, 11 * s, rng)
    half = len(targets) // 2
    tip, widest = 1.3 * np.sqrt(s), 6.8 * s
    trees = [grow(portal, targets[:half], tip, widest, rng)]
    rest = targets[half:]
    nearest = np.argmin(
        [np.linalg.norm(rest[:, None] - trunk[None], axis=2).min(1) for trunk in (right, middle, left)], axis=0
    )
    trees += [grow(trunk, rest[nearest == k], tip, 5.6 * s, rng) for k, trunk in enumerate((right, middle, left))]
    straight = np.arange(len(cava))
    trees.append(Tree(cava, np.maximum(straight - 1, 0), np.full(len(cava), rng.uniform(10.5, 12.5) * s)))
    return trees


def _trunks(trees: list[Tree]) -> list[tuple[Tree, int]]:
    """What lies outside a real liver: the portal trunk before the hilum, and the vena cava."""
    return [(trees[0], 9), (trees[-1], len(trees[-1].points))]


def _masks(space: Space, box: tuple, liver: ndarray, vessels: tuple, tumors: list) -> tuple[ndarray, ndarray, ndarray]:
    liver_mask, vessel_mask, tumor_mask = (np.zeros(space.hu.shape, dtype=np.uint8) for _ in range(3))
    liver_mask[box] = liver > 0
    vessel_mask[vessels[0]] = vessels[1] > 0
    for tumor in tumors:
        tumor_mask[tumor.box] |= tumor.level > 0
    liver_mask |= tumor_mask
    vessel_mask &= 1 - tumor_mask
    return liver_mask, vessel_mask, tumor_mask
