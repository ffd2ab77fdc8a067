"""A synthetic patient: a portal-venous CT in HU with masks of liver, vessels and tumors, decided by a seed alone.

Not a model of physics: the body is painted tissue by tissue from smooth shapes, with the contrasts and the noise of
real portal-venous CT, so that a network trained on it has to cope with what makes livers hard.
"""

import numpy as np
import SimpleITK as sitk
from numpy import ndarray

from ltvs.phantom.body_build import Build
from ltvs.phantom.body_wall import paint_body_wall
from ltvs.phantom.bowel import paint_bowel
from ltvs.phantom.canvas import HIGHEST, LOWEST, Canvas, Level, Region, waves
from ltvs.phantom.chest import paint_chest
from ltvs.phantom.lesions import FreePlaces, Lesion
from ltvs.phantom.liver import anatomy_levels, synthetic_liver
from ltvs.phantom.liver_vessels import hepatic_trees, portal_vein, vena_cava
from ltvs.phantom.mimics import make_mimics
from ltvs.phantom.noise import blur_and_add_noise
from ltvs.phantom.organs import paint_organs
from ltvs.phantom.parenchyma import uneven_parenchyma
from ltvs.phantom.skeleton import paint_skeleton
from ltvs.phantom.tumors import make_tumors
from ltvs.phantom.vessel_tree import tree_region
from ltvs.runtime.errors import InputError
from ltvs.volume.case import Case
from ltvs.volume.grids import Grid


def make_phantom(
    seed: int, *, matrix: int = 512, slice_spacing: float | None = None, anatomy: sitk.Image | None = None
) -> Case:
    """Return a CT phantom.

    Args:
        seed: decides everything; 0 or more.
        matrix: rows and columns; the field of view is 512 times 0.62-0.82 mm, whatever the matrix.
        slice_spacing: mm; drawn from 0.8-2 mm if None.
        anatomy: label map of a real liver (above 0) and its vessels (2) to build around; synthetic ones if None.

    Returns:
        The CT with masks of the liver, its vessels (which continue outside it) and its tumors.

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
    # One generator for each part, so that a change in one leaves the others as they were.
    of_liver, of_body, of_noise = rng.spawn(3)
    if anatomy is None:
        liver, inner = synthetic_liver(build, of_liver), None
        low, high = -102 * build.scale, build.dome + 18
    else:
        liver, inner, extent = anatomy_levels(anatomy, build)
        low, high = extent[0] - 20, extent[1] + 20
    across = ((np.arange(matrix) - (matrix - 1) / 2) * spacing).astype(np.float32)
    canvas = Canvas(across, across, np.arange(low, high, step).astype(np.float32))

    _paint_body(canvas, build, of_body)
    masks = _paint_liver(canvas, build, liver, inner, of_liver)
    # Measured in a real liver at voxels of 0.74 mm; larger voxels average over more photons.
    deviation = of_noise.uniform(19, 25) * np.sqrt(0.74 / max(spacing, 0.74))
    hu = blur_and_add_noise(canvas.hu, deviation, of_noise)
    ct = np.clip(np.round(hu), -1024, 3071).astype(np.int16)
    grid = Grid(
        (matrix, matrix, len(canvas.z)), (spacing, spacing, step),
        (float(canvas.x[0]), float(canvas.y[0]), float(canvas.z[0])), (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0),
    )  # fmt: skip
    return Case(f"phantom-{seed:04d}", *(grid.place(sitk.GetImageFromArray(array)) for array in (ct, *masks)))


def _draw_build(field_of_view: float, rng: np.random.Generator) -> Build:
    """Return a random build that fills a field of view, mm."""
    half_width = 0.5 * field_of_view * rng.uniform(0.86, 0.93)
    # Organs grow less than the body around them.
    scale = (half_width / rng.uniform(160, 172)) ** 0.6
    return Build(
        half_width, half_width * rng.uniform(0.73, 0.82), rng.uniform(9, 22) * scale, scale, rng.uniform(82, 98) * scale
    )


def _paint_body(canvas: Canvas, build: Build, rng: np.random.Generator) -> None:
    """Paint everything around the liver, each part over those before it."""
    blood = rng.uniform(140, 165)
    paint_body_wall(canvas, build, rng)
    paint_bowel(canvas, build, rng)
    paint_organs(canvas, build, blood, rng)
    paint_chest(canvas, build, blood, rng)
    paint_skeleton(canvas, build, rng)


def _paint_liver(
    canvas: Canvas, build: Build, shape: Level, inner: Level | None, rng: np.random.Generator
) -> tuple[ndarray, ndarray, ndarray]:
    """Paint a liver of the given shape with everything in it; return masks of liver, vessels and tumors.

    Args:
        canvas: with the body around it.
        build: of the patient.
        shape: of the liver.
        inner: the vessels in the liver; synthetic ones if None.
        rng: decides everything else.
    """
    s = build.scale
    cava = vena_cava(build, rng)
    liver = _without_vena_cava(_crop(canvas.region(shape)), _on_whole_canvas(canvas, tree_region(canvas, [cava])))
    liver_hu = rng.uniform(92, 106)
    contrast = rng.uniform(51, 65)
    places = FreePlaces(canvas, liver, [])
    tissue = uneven_parenchyma(canvas, liver, liver_hu, s, rng)
    tumors = make_tumors(places, tissue, s, rng)
    mimics = make_mimics(places, liver_hu + contrast, s, rng)
    if inner is None:
        vessels = tree_region(canvas, [*hepatic_trees(canvas, build, liver, rng), cava])
    else:
        outside = _on_whole_canvas(canvas, tree_region(canvas, [portal_vein(build), cava]))
        given = np.where(liver.level > -2, inner(*canvas.coordinates(liver.box)), -3)
        np.maximum(outside[liver.box], given, out=outside[liver.box])
        vessels = Region(canvas.box(LOWEST, HIGHEST), outside)

    canvas.blend(liver, tissue(*canvas.coordinates(liver.box)))
    # Motion and blur lower the contrast of small vessels, here by as much as measured by depth in a real liver.
    share = 0.8 + 0.15 * np.clip(vessels.level, 0, 3)
    canvas.blend(vessels, liver_hu + contrast * share + waves(rng, 5.0, 40)(*canvas.coordinates(vessels.box)))
    for lesion in (*mimics, *tumors):
        canvas.blend(lesion.region, lesion.hu)
    return _masks(canvas, liver, vessels, mimics, tumors)


def _crop(region: Region) -> Region:
    """Return the part of a region within 4 mm of its inside."""
    near = region.level > -4
    spans = [np.flatnonzero(near.any(axis=axes)) for axes in ((1, 2), (0, 2), (0, 1))]
    z, y, x = (slice(int(span[0]), int(span[-1]) + 1) for span in spans)
    # The box of the region is the whole volume, so that both count from the same voxel.
    return Region((z, y, x), np.ascontiguousarray(region.level[z, y, x]))


def _without_vena_cava(liver: Region, cava: ndarray) -> Region:
    """Cut the vena cava out of a liver: it is not part of the organ even where it is wrapped in it."""
    near = cava[liver.box]
    return Region(liver.box, np.where(near > -3, np.minimum(liver.level, -near), liver.level))


def _on_whole_canvas(canvas: Canvas, trees: Region) -> ndarray:
    """Return the level of vessel trees on every voxel; -3 mm, which is not resolved, beyond their box."""
    level = np.full(canvas.hu.shape, -3.0, dtype=np.float32)
    level[trees.box] = trees.level
    return level


def _masks(
    canvas: Canvas, liver: Region, vessels: Region, mimics: list[Lesion], tumors: list[Lesion]
) -> tuple[ndarray, ndarray, ndarray]:
    """Return masks of liver, vessels and tumors; lesions belong to the liver, and no vessel runs through one."""
    shape = canvas.hu.shape
    vessel_mask = _union(shape, [vessels])
    tumor_mask = _union(shape, [tumor.region for tumor in tumors])
    grown = tumor_mask | _union(shape, [mimic.region for mimic in mimics])
    return _union(shape, [liver]) | grown, vessel_mask & (1 - grown), tumor_mask


def _union(shape: tuple[int, ...], regions: list[Region]) -> ndarray:
    """Return 1 inside any of the regions, uint8."""
    mask = np.zeros(shape, dtype=np.uint8)
    for region in regions:
        mask[region.box] |= region.level > 0
    return mask
