"""The liver: a large right lobe under the diaphragm, a left lobe that tapers across the midline."""

import numpy as np
import SimpleITK as sitk
from numpy import ndarray

from ltvs.grids import Grid
from ltvs.labels import BACKGROUND, VESSEL
from ltvs.phantom.build import Build
from ltvs.phantom.space import Level, ellipsoid, smooth_max, smooth_min, waves


def made_liver(build: Build, rng: np.random.Generator) -> Level:
    """Level function of a liver that fits the build."""
    s = build.scale
    right = ellipsoid(
        np.multiply((-62, 2, -2), s), np.multiply((rng.uniform(64, 76), rng.uniform(70, 82), rng.uniform(76, 94)), s)
    )
    left = ellipsoid(
        np.multiply((rng.uniform(0, 18), -46, rng.uniform(22, 34)), s),
        np.multiply((rng.uniform(62, 86), rng.uniform(26, 36), rng.uniform(34, 50)), s),
        rng.uniform(-0.25, 0.1),
    )
    caudate = ellipsoid(np.multiply((-12, 14, 18), s), np.multiply((22, 18, 32), s))
    hilum = ellipsoid(np.multiply((2, 6, -26), s), np.multiply((44, 27, 32), s), 0.3)
    kidney = ellipsoid(np.multiply((-56, 58, -66), s), np.multiply((36, 40, 52), s))
    gallbladder = ellipsoid(np.multiply((-40, -40, -48), s), np.multiply((19, 20, 32), s))
    bumps, folds = waves(rng, 3.2 * s, 75 * s), waves(rng, 1.3 * s, 28 * s)

    def level(x: ndarray, y: ndarray, z: ndarray) -> ndarray:
        whole = smooth_max(smooth_max(right(x, y, z), left(x, y, z), 10 * s), caudate(x, y, z), 8 * s)
        for dent in (hilum, kidney, gallbladder):
            whole = smooth_min(whole, -dent(x, y, z), 7 * s)
        whole = whole + bumps(x, y, z) + folds(x, y, z)
        whole = smooth_min(whole, build.cavity(x, y) - 4, 5 * s)
        return smooth_min(whole, build.diaphragm(x, y) - 3 - z, 6 * s)

    return level


def anatomy_levels(anatomy: sitk.Image) -> tuple[Level, Level, tuple[float, float]]:
    """Level functions of a real liver and of its vessels, with the liver's middle moved to the usual place.

    Args:
        anatomy: label map; above 0 is liver, 2 the vessels in it.

    Returns:
        liver, vessels, and the lowest and highest z of the liver, mm.
    """
    anatomy = sitk.DICOMOrient(anatomy, "LPS")
    grid = Grid.of(anatomy)
    labels = sitk.GetArrayViewFromImage(anatomy)
    inside = np.argwhere(labels > BACKGROUND)[:, ::-1]
    low, high = inside.min(0), inside.max(0)
    middle, half = (low + high) / 2, (high - low + 1) / 2 * grid.spacing
    place = np.array([-35.0, -8.0, 4.0])

    def level_of(mask: sitk.Image) -> Level:
        distance = sitk.SignedMaurerDistanceMap(
            mask, insideIsPositive=True, squaredDistance=False, useImageSpacing=True
        )
        return _sampled(sitk.GetArrayFromImage(distance), np.array(grid.spacing), middle, place)

    return level_of(anatomy > BACKGROUND), level_of(anatomy == VESSEL), (place[2] - half[2], place[2] + half[2])


def _sampled(values: ndarray, spacing: ndarray, middle: ndarray, place: ndarray) -> Level:
    """A level function from values on a grid, linear in between."""

    def indices(points: ndarray, axis: int) -> tuple[ndarray, ndarray, ndarray]:
        position = np.clip((points.ravel() - place[axis]) / spacing[axis] + middle[axis], 0, values.shape[2 - axis] - 1)
        first = np.minimum(position.astype(int), max(values.shape[2 - axis] - 2, 0))
        return first, np.minimum(first + 1, values.shape[2 - axis] - 1), (position - first).astype(np.float32)

    def level(x: ndarray, y: ndarray, z: ndarray) -> ndarray:
        out = values
        for axis, points, dim in ((2, z, 0), (1, y, 1), (0, x, 2)):
            first, second, share = indices(points, axis)
            share = share.reshape([-1 if d == dim else 1 for d in range(3)])
            out = np.take(out, first, dim) * (1 - share) + np.take(out, second, dim) * share
        return out

    return level
