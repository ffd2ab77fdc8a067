"""A made patient: a portal-venous CT in HU with its liver, vessel and tumor masks, decided by a seed alone.

Not a model of physics: the body is painted tissue by tissue from smooth shapes, with the contrasts and the noise of
real portal-venous CT, so that what is learned on it has to cope with what makes livers hard.
"""

import numpy as np
import SimpleITK as sitk
from numpy import ndarray

from ltvs.phantom.body import paint_body
from ltvs.phantom.build import Build
from ltvs.phantom.hepatic import hepatic_trees, portal_vein, vena_cava
from ltvs.phantom.lesions import Lesion, Places
from ltvs.phantom.liver import anatomy_levels, made_liver
from ltvs.phantom.noise import scan
from ltvs.phantom.parenchyma import make_mimics, uneven
from ltvs.phantom.space import HIGHEST, LOWEST, Level, Region, Space, waves
from ltvs.phantom.tumors import make_tumors
from ltvs.phantom.vessels import tree_region
from ltvs.runtime.errors import InputError
from ltvs.volume.case import Case
from ltvs.volume.grids import Grid


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
        The CT with masks of the liver, its vessels (which go on outside it) and its tumors.

    Raises:
        InputError: a matrix too small to show a liver, a spacing that is not positive, a negative seed, or an anatomy
            without liver or vessels.
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
    step = drawn if slice_spacing is None else slice_spacing
    build = _draw_build(spacing * matrix, rng)
    # Of their own each, so that a change in one part leaves the others as they were.
    of_liver, of_body, of_noise = rng.spawn(3)
    if anatomy is None:
        liver, inner = made_liver(build, of_liver), None
        low, high = -102 * build.scale, build.dome + 18
    else:
        liver, inner, extent = anatomy_levels(anatomy, build)
        low, high = extent[0] - 20, extent[1] + 20
    space = _make_space(matrix, spacing, step, low, high)

    paint_body(space, build, of_body)
    masks = _paint_liver(space, build, liver, inner, of_liver)
    # Of voxels of 0.74 mm, as measured in a real liver; larger voxels average over more photons.
    deviation = of_noise.uniform(19, 25) * np.sqrt(0.74 / max(spacing, 0.74))
    hu = scan(space.hu, deviation, of_noise)
    ct = np.clip(np.round(hu), -1024, 3071).astype(np.int16)
    grid = Grid(
        (matrix, matrix, len(space.z)), (spacing, spacing, step),
        (float(space.x[0]), float(space.y[0]), float(space.z[0])), (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0),
    )  # fmt: skip
    return Case(f"phantom-{seed:04d}", *(grid.place(sitk.GetImageFromArray(array)) for array in (ct, *masks)))


def _draw_build(field_of_view: float, rng: np.random.Generator) -> Build:
    half_width = 0.5 * field_of_view * rng.uniform(0.86, 0.93)
    # Organs grow less than the body around them.
    scale = (half_width / rng.uniform(160, 172)) ** 0.6
    return Build(
        half_width, half_width * rng.uniform(0.73, 0.82), rng.uniform(9, 22) * scale, scale, rng.uniform(82, 98) * scale
    )


def _make_space(matrix: int, spacing: float, step: float, low: float, high: float) -> Space:
    across = ((np.arange(matrix) - (matrix - 1) / 2) * spacing).astype(np.float32)
    return Space(across, across, np.arange(low, high, step).astype(np.float32))


def _paint_liver(
    space: Space, build: Build, shape: Level, inner: Level | None, rng: np.random.Generator
) -> tuple[ndarray, ndarray, ndarray]:
    """Paint the liver, of a given shape and maybe given vessels, with all in it; masks of liver, vessels, tumors."""
    s = build.scale
    cava = vena_cava(build, rng)
    liver = _grooved(_cropped(space.region(shape)), tree_region(space, [cava]), space)
    liver_hu = rng.uniform(92, 106)
    contrast = rng.uniform(51, 65)
    places = Places(space, liver, [])
    tissue = uneven(space, liver, liver_hu, s, rng)
    tumors = make_tumors(places, tissue, s, rng)
    mimics = make_mimics(places, liver_hu + contrast, s, rng)
    if inner is None:
        vessels = tree_region(space, [*hepatic_trees(space, build, liver, rng), cava])
    else:
        vessels = _joined(space, tree_region(space, [portal_vein(build), cava]), inner, liver)

    space.lay(liver, tissue(*space.coordinates(liver.box)))
    # Motion and blur take from small vessels what large ones show: as much as measured by depth in a real liver.
    share = 0.8 + 0.15 * np.clip(vessels.level, 0, 3)
    space.lay(vessels, liver_hu + contrast * share + waves(rng, 5.0, 40)(*space.coordinates(vessels.box)))
    for lesion in (*mimics, *tumors):
        space.lay(lesion.region, lesion.hu)
    return _masks(space, liver, vessels, mimics, tumors)


def _cropped(region: Region) -> Region:
    """The part of a region within 4 mm of what is inside."""
    near = region.level > -4
    spans = [np.flatnonzero(near.any(axis=axes)) for axes in ((1, 2), (0, 2), (0, 1))]
    z, y, x = (slice(int(span[0]), int(span[-1]) + 1) for span in spans)
    # The box of the region is the whole volume, so that both count from the same voxel.
    return Region((z, y, x), np.ascontiguousarray(region.level[z, y, x]))


def _grooved(liver: Region, cava: Region, space: Space) -> Region:
    """A liver without the vena cava, which is not part of the organ even where it is wrapped in it."""
    filled = np.full(space.hu.shape, -3.0, dtype=np.float32)
    filled[cava.box] = cava.level
    near = filled[liver.box]
    return Region(liver.box, np.where(near > -3, np.minimum(liver.level, -near), liver.level))


def _joined(space: Space, outside: Region, inner: Level, liver: Region) -> Region:
    """The vessels outside a liver together with those given inside it."""
    level = np.full(space.hu.shape, -3.0, dtype=np.float32)
    level[outside.box] = outside.level
    given = np.where(liver.level > -2, inner(*space.coordinates(liver.box)), -3)
    level[liver.box] = np.maximum(level[liver.box], given)
    return Region(space.box(LOWEST, HIGHEST), level)


def _masks(
    space: Space, liver: Region, vessels: Region, mimics: list[Lesion], tumors: list[Lesion]
) -> tuple[ndarray, ndarray, ndarray]:
    """Masks of liver, vessels and tumors: what grows in a liver belongs to it, and no vessel runs through it."""
    shape = space.hu.shape
    vessel_mask = _union(shape, [vessels])
    tumor_mask = _union(shape, [tumor.region for tumor in tumors])
    grown = tumor_mask | _union(shape, [mimic.region for mimic in mimics])
    return _union(shape, [liver]) | grown, vessel_mask & (1 - grown), tumor_mask


def _union(shape: tuple[int, ...], regions: list[Region]) -> ndarray:
    """1 inside any of the regions, uint8."""
    mask = np.zeros(shape, dtype=np.uint8)
    for region in regions:
        mask[region.box] |= region.level > 0
    return mask
