"""The liver: a synthetic one, a large right lobe and a left lobe that tapers across the midline, or a given one."""

from dataclasses import replace

import numpy as np
import SimpleITK as sitk
from numpy import ndarray

from ltvs.anatomy.build import Build
from ltvs.anatomy.canvas import Level, Point, ellipsoid, smooth_max, smooth_min, waves
from ltvs.runtime.errors import InputError
from ltvs.volume.grids import Grid, bounding_box
from ltvs.volume.labels import BACKGROUND, VESSEL
from ltvs.volume.resampling import resample


def synthetic_liver(build: Build, rng: np.random.Generator) -> Level:
    """Return a liver that fits the build: smooth or nodular, whole or, in a few, resected."""
    s, uniform = build.scale, rng.uniform

    def part(center: Point, radii: Point, tilt: float = 0.0) -> Level:
        return ellipsoid(np.multiply(center, s), np.multiply(radii, s), tilt)

    right = part((-62, 2, -2), (uniform(58, 80), uniform(64, 86), uniform(72, 124)), uniform(-0.2, 0.2))
    center = (uniform(-4, 24), uniform(-52, -40), uniform(14, 38))
    left = part(center, (uniform(52, 100), uniform(22, 38), uniform(28, 54)), uniform(-0.35, 0.15))
    caudate = part((-12, 14, 18), np.multiply((22, 18, 32), uniform(0.75, 1.3)))
    hilum = part((2, 6, -26), (44, 27, 32), 0.3)
    # With the fat around it, which keeps it off the liver in most, and of which the lean have hardly any.
    kidney = part((-56, 58, -64), np.multiply((42, 48, 62), uniform(0.72, 1.0)))
    gallbladder = part((-40, -40, -48), np.multiply((19, 20, 32), uniform(0.7, 1.1)))
    # Fat between liver and body wall; most livers touch it.
    gap = max(0.0, uniform(-2.5, 3.0))
    fissure = part((uniform(-4, 14), -58, uniform(-12, 14)), (uniform(2, 6), 34, 32), uniform(-0.5, 0.5))
    dents = [hilum, kidney, gallbladder, *([fissure] if rng.random() < 0.6 else [])]
    bumps, folds = waves(rng, uniform(2, 5) * s, 75 * s), waves(rng, uniform(0.7, 2.4) * s, uniform(16, 32) * s)
    normal, depth = rng.standard_normal(3), uniform(25, 60) * s
    normal /= np.linalg.norm(normal)
    resected = rng.random() < 0.05

    def level(x: ndarray, y: ndarray, z: ndarray) -> ndarray:
        whole = smooth_max(smooth_max(right(x, y, z), left(x, y, z), 10 * s), caudate(x, y, z), 8 * s)
        for dent in dents:
            whole = smooth_min(whole, -dent(x, y, z), 7 * s)
        whole = whole + bumps(x, y, z) + folds(x, y, z)
        if resected:
            u, v, w = normal
            whole = smooth_min(whole, depth + u * (x + 62 * s) + v * y + w * z, 8 * s)
        whole = smooth_min(whole, build.cavity(x, y) - gap, 3 * s)
        return smooth_min(whole, build.diaphragm(x, y) - 3 - z, 4 * s)

    return level


def anatomy_levels(anatomy: sitk.Image, build: Build) -> tuple[Level, Level, tuple[float, float]]:
    """Return a real liver and its vessels, moved under the right diaphragm and against the body wall.

    Args:
        anatomy: label map; above 0 is liver, 2 the vessels in it.
        build: of the patient that gets the liver; what would stick into the body wall is cut off.

    Returns:
        liver, vessels, and the lowest and the highest z of the liver, mm.

    Raises:
        InputError: no liver or no vessels.
    """
    anatomy = sitk.DICOMOrient(anatomy, "LPS")
    box = bounding_box(anatomy)
    if box is None or not (sitk.GetArrayViewFromImage(anatomy) == VESSEL).any():
        raise InputError(f"anatomy: expected a label map with liver above {BACKGROUND} and vessels {VESSEL}; got none")
    voxels = np.subtract(box[1], box[0]) + 1
    spacing = np.array(anatomy.GetSpacing())
    s, extent = build.scale, voxels * spacing
    corner = np.array(
        [-(build.half_width - build.wall) + 3 * s, -0.05 * build.half_depth - extent[1] / 2, build.dome - extent[2]]
    )
    edge = 6
    anatomy = sitk.ConstantPad(sitk.RegionOfInterest(anatomy, voxels.tolist(), box[0]), (edge,) * 3, (edge,) * 3, 0)
    first = corner + (0.5 - edge) * spacing
    cubes = _isotropic(Grid.of(anatomy))

    def level_of(mask: sitk.Image) -> Level:
        # In voxels, so that a surface lies half-way between slices however thick they are.
        fine = resample(_signed_distance(mask) + 0.5, cubes, outside=-1.0)
        # The same surface among cubes, to which distances are in mm whatever their direction.
        distance = sitk.GetArrayFromImage(_signed_distance(fine > 0))
        return _interpolated((distance + 0.5) * spacing[0], spacing[0], first)

    whole = level_of(anatomy > BACKGROUND)

    def liver(x: ndarray, y: ndarray, z: ndarray) -> ndarray:
        return smooth_min(whole(x, y, z), build.cavity(x, y) - 3, 5 * s)

    return liver, level_of(anatomy == VESSEL), (float(corner[2]), build.dome)


def _isotropic(grid: Grid) -> Grid:
    """Return a grid with the same first voxel, whose voxels are as deep and as high as they were wide."""
    side = grid.spacing[0]
    x, y, z = (int((n - 1) * mm / side) + 1 for n, mm in zip(grid.size, grid.spacing, strict=True))
    return replace(grid, size=(x, y, z), spacing=(side, side, side))


def _signed_distance(mask: sitk.Image) -> sitk.Image:
    """Return voxels to the surface of a mask, positive inside."""
    return sitk.SignedMaurerDistanceMap(mask, insideIsPositive=True, squaredDistance=False, useImageSpacing=False)


def _interpolated(values: ndarray, spacing: float, first: ndarray) -> Level:
    """Return a function that interpolates values linearly, (z, y, x) every `spacing` mm from the point `first` on."""

    def level(x: ndarray, y: ndarray, z: ndarray) -> ndarray:
        out = values
        for dim, points in enumerate((z, y, x)):
            axis, last = 2 - dim, values.shape[dim] - 1
            position = np.clip((points.ravel() - first[axis]) / spacing, 0, last)
            below = np.floor(position).astype(int)
            share = (position - below).astype(np.float32).reshape([-1 if d == dim else 1 for d in range(3)])
            out = np.take(out, below, dim) * (1 - share) + np.take(out, np.minimum(below + 1, last), dim) * share
        return out

    return level
