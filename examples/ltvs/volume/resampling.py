"""Moving images and labels between the CT's own grid and a network's, through physical space alone."""

from collections.abc import Iterator

import numpy as np
import SimpleITK as sitk
from jaxtyping import Float
from numpy import ndarray

from ltvs.volume.grids import Grid, label_box, overlap, part_of
from ltvs.volume.labels import LIVER, TUMOR, VESSEL

#: Target slices restored at a time: enough to use every core, few enough to need little memory.
_SLAB = 32


def resample_image(ct: sitk.Image, grid: Grid, window: tuple[float, float]) -> sitk.Image:
    """HU on another grid, int16: clipped to the window first, then linear; the low end outside the CT.

    Where the grid is coarser than the CT by two or more, that many voxels are averaged first: linear interpolation
    alone would pick single voxels, and their noise, from between the ones it skips.

    Args:
        ct: HU, int16.
        grid: where the values are wanted.
        window: lowest and highest HU.
    """
    low, high = window
    clipped = _averaged(sitk.Clamp(ct, sitk.sitkInt16, low, high), grid)
    resampled = _linear(clipped, grid, low)
    rounded = np.empty(grid.size[::-1], dtype=np.int16)
    np.rint(sitk.GetArrayViewFromImage(resampled), out=rounded, casting="unsafe")  # faster than ITK's two filters
    return grid.place(sitk.GetImageFromArray(rounded))


def resample_labels(labels: sitk.Image, grid: Grid) -> sitk.Image:
    """Labels on another grid, uint8: the map of each label is resampled linearly and the largest taken.

    This keeps thin vessels that nearest neighbors would break, and moves no boundary by more than half a voxel.
    Outside the labels' own grid it is background.
    """
    taken = np.zeros(grid.size[::-1], dtype=np.uint8)
    landed = _landing(labels, grid)
    if landed is not None:
        filled, part, where = landed
        taken[where] = _largest_share(filled, part)
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
    result = np.zeros(target.size[::-1], dtype=np.uint8)
    first, size = overlap(grid, target)
    if all(size):
        part = part_of(target, first, size)
        best = np.zeros(size[::-1], dtype=np.float32)
        taken = np.zeros(size[::-1], dtype=np.uint8)
        for k, probability in enumerate(probabilities):
            image = grid.place(sitk.GetImageFromArray(np.ascontiguousarray(probability, dtype=np.float32)))
            for where, slab in _slabs(part):
                share = sitk.GetArrayFromImage(_linear(image, slab, 0.0))
                taken[where][share > best[where]] = k
                np.maximum(best[where], share, out=best[where])
        result[_box(first, size)] = taken
    return target.place(sitk.GetImageFromArray(result))


def _landing(labels: sitk.Image, grid: Grid) -> tuple[sitk.Image, Grid, tuple[slice, ...]] | None:
    """What is above 0 in a box of its own, the part of `grid` that it reaches, and where that is in its array.

    None if it reaches nothing. Most of a CT has no label: what lies beside the box is never looked at.
    """
    box = label_box(labels)
    if box is None:
        return None
    # One voxel of background around the labels is all that interpolation sees of the rest.
    start = np.maximum(np.subtract(box[0], 1), 0)
    stop = np.minimum(np.add(box[1], 2), labels.GetSize())
    filled = sitk.RegionOfInterest(labels, (stop - start).tolist(), start.tolist())
    first, size = overlap(Grid.of(filled), grid)
    return (filled, part_of(grid, first, size), _box(first, size)) if all(size) else None


def _largest_share(labels: sitk.Image, grid: Grid) -> ndarray:
    """The label with the largest share of each voxel of `grid`, (d, h, w); background where that is as large."""
    best = np.zeros(grid.size[::-1], dtype=np.float32)
    rest = np.ones(grid.size[::-1], dtype=np.float32)
    taken = np.zeros(grid.size[::-1], dtype=np.uint8)
    for label in (LIVER, VESSEL, TUMOR):
        landed = _landing(labels == label, grid)
        if landed is None:
            continue
        mask, part, where = landed
        share = sitk.GetArrayFromImage(_linear(mask, part, 0.0))
        np.copyto(taken[where], label, where=share > best[where])
        np.maximum(best[where], share, out=best[where])
        rest[where] -= share
    taken[rest >= best] = 0
    return taken


def _linear(image: sitk.Image, grid: Grid, outside: float) -> sitk.Image:
    """Linear interpolation, float32. Voxels are cells: up to its own edge the image holds its outermost values."""
    resampler = sitk.ResampleImageFilter()
    resampler.SetSize(grid.size)
    resampler.SetOutputSpacing(grid.spacing)
    resampler.SetOutputOrigin(grid.origin)
    resampler.SetOutputDirection(grid.direction)
    resampler.SetOutputPixelType(sitk.sitkFloat32)
    resampler.SetInterpolator(sitk.sitkLinear)
    resampler.SetDefaultPixelValue(outside)
    result: sitk.Image = resampler.Execute(image)
    return result


def _averaged(image: sitk.Image, grid: Grid) -> sitk.Image:
    """Means over as many whole voxels as fit into one of `grid`, along each axis; the image itself where none do."""
    # How far one step along each axis of the image leads on the grid, in its voxels: its inverse is the factor.
    own = Grid.of(image)
    steps = [np.abs(grid.index(own.physical(step)) - grid.index(own.physical((0, 0, 0)))).max() for step in np.eye(3)]
    factors = [min(max(1, int(1 / step + 1e-3)), n) for step, n in zip(steps, own.size, strict=True)]
    if max(factors) == 1:
        return image
    missing = [-n % factor for n, factor in zip(own.size, factors, strict=True)]
    return sitk.BinShrink(sitk.ZeroFluxNeumannPad(image, (0, 0, 0), missing), factors)


def _slabs(grid: Grid) -> Iterator[tuple[slice, Grid]]:
    """The grid cut into slabs of a few slices, each with the slices of an array (d, h, w) that it covers."""
    columns, rows, slices = grid.size
    for start in range(0, slices, _SLAB):
        size = (columns, rows, min(_SLAB, slices - start))
        yield slice(start, start + size[2]), part_of(grid, (0, 0, start), size)


def _box(first: tuple[int, ...], size: tuple[int, ...]) -> tuple[slice, ...]:
    """Index (x, y, z) and size as slices of an array (d, h, w)."""
    return tuple(slice(start, start + n) for start, n in zip(first[::-1], size[::-1], strict=True))
