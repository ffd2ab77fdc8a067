"""Moving images and labels between the CT's own grid and a network's, through physical space."""

from itertools import product

import numpy as np
import SimpleITK as sitk
from jaxtyping import Float
from numpy import ndarray

from ltvs.grids import Grid
from ltvs.labels import BACKGROUND, LIVER, TUMOR, VESSEL


def resample_image(ct: sitk.Image, grid: Grid, window: tuple[float, float]) -> sitk.Image:
    """HU on another grid, int16: clipped to the window first, then linear; the low end outside the CT."""
    low, high = window
    clipped = sitk.Clamp(ct, sitk.sitkFloat32, low, high)
    return sitk.Cast(sitk.Round(_resample(clipped, grid, sitk.sitkLinear, low)), sitk.sitkInt16)


def resample_labels(labels: sitk.Image, grid: Grid) -> sitk.Image:
    """Labels on another grid, uint8: each label's map is resampled linearly and the largest taken.

    This keeps thin vessels that nearest neighbours would break.
    """
    best = np.full(grid.size[::-1], 0.0, dtype=np.float32)
    taken = np.zeros(grid.size[::-1], dtype=np.uint8)
    rest = np.ones(grid.size[::-1], dtype=np.float32)
    for label in (LIVER, VESSEL, TUMOR):
        share = sitk.GetArrayFromImage(_resample(sitk.Cast(labels == label, sitk.sitkFloat32), grid, sitk.sitkLinear, 0))
        rest -= share
        larger = share > best
        best[larger], taken[larger] = share[larger], label
    taken[rest > best] = BACKGROUND
    return grid.place(sitk.GetImageFromArray(taken))


def restore_probabilities(probabilities: Float[ndarray, "k d h w"], grid: Grid, target: Grid) -> sitk.Image:
    """The likeliest class of each voxel of `target`, uint8, from class probabilities on `grid`.

    Each class is interpolated linearly; outside `grid` it is class 0. One class at a time, and only where `grid`
    lies in `target`, so that a large CT needs little memory.

    Args:
        probabilities: (classes, d, h, w), on `grid`.
        grid: where they are.
        target: where they are wanted, a CT's own grid.
    """
    start, size = _overlap(grid, target)
    part = _part(target, start, size)
    best = np.zeros(size[::-1], dtype=np.float32)
    taken = np.zeros(size[::-1], dtype=np.uint8)
    for k, probability in enumerate(probabilities):
        image = grid.place(sitk.GetImageFromArray(np.ascontiguousarray(probability, dtype=np.float32)))
        share = sitk.GetArrayFromImage(_resample(image, part, sitk.sitkLinear, 0.0))
        larger = share > best
        best[larger], taken[larger] = share[larger], k
    whole = np.zeros(target.size[::-1], dtype=np.uint8)
    whole[tuple(slice(s, s + n) for s, n in zip(start[::-1], size[::-1], strict=True))] = taken
    return target.place(sitk.GetImageFromArray(whole))


def _resample(image: sitk.Image, grid: Grid, interpolator: int, outside: float) -> sitk.Image:
    # Voxels are cells, not points: within half a voxel of the edge the value at the edge holds.
    resampler = sitk.ResampleImageFilter()
    resampler.SetSize(grid.size)
    resampler.SetOutputSpacing(grid.spacing)
    resampler.SetOutputOrigin(grid.origin)
    resampler.SetOutputDirection(grid.direction)
    resampler.SetInterpolator(interpolator)
    resampler.SetDefaultPixelValue(outside)
    result: sitk.Image = resampler.Execute(image)
    return result


def _overlap(grid: Grid, target: Grid) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """First voxel and size of the box of `target` that holds all of `grid`, cut to `target`."""
    ends = zip((-0.5,) * 3, np.array(grid.size) - 0.5, strict=True)
    points = np.array([target.index(grid.physical(corner)) for corner in product(*ends)])
    low = np.clip(np.floor(points.min(0)), 0, np.array(target.size) - 1).astype(int)
    high = np.clip(np.ceil(points.max(0)), low, np.array(target.size) - 1).astype(int)
    return tuple(low.tolist()), tuple((high - low + 1).tolist())


def _part(grid: Grid, start: tuple[int, ...], size: tuple[int, ...]) -> Grid:
    x, y, z = size
    return Grid((x, y, z), grid.spacing, tuple(grid.physical(start).tolist()), grid.direction)
