"""Resampling of images and labels between the CT's own grid and a network's, through physical space alone."""

from collections.abc import Iterator

import numpy as np
import SimpleITK as sitk
from jaxtyping import Float
from numpy import ndarray

from ltvs.volume.grids import Grid, bounding_box, crop_grid, overlap
from ltvs.volume.labels import LIVER, TUMOR, VESSEL

#: Target slices restored at a time: enough to use every core, few enough to need little memory.
_SLAB = 32


def resample(image: sitk.Image, grid: Grid, *, outside: float = 0.0, nearest: bool = False) -> sitk.Image:
    """Resample an image onto another grid: linearly, as float32, or by the nearest voxel, with the image's own type.

    Voxels are cells: up to its own edge the image has the values of its outermost voxels, beyond it `outside`.
    """
    kind, dtype = (sitk.sitkNearestNeighbor, image.GetPixelID()) if nearest else (sitk.sitkLinear, sitk.sitkFloat32)
    place = (grid.origin, grid.spacing, grid.direction)
    return sitk.Resample(image, grid.size, sitk.Transform(), kind, *place, outside, dtype)


def resample_image(ct: sitk.Image, grid: Grid, window: tuple[float, float]) -> sitk.Image:
    """Resample HU onto another grid, int16: clipped to the window, then linear; the low end of it outside the CT.

    Where the grid is coarser than the CT by two or more, that many voxels are averaged first: linear interpolation
    alone would pick single voxels, and their noise, and skip the others.

    Args:
        ct: HU, int16.
        grid: the target.
        window: lowest and highest HU.
    """
    low, high = window
    clipped = _average_down(sitk.Clamp(ct, sitk.sitkInt16, low, high), grid)
    resampled = resample(clipped, grid, outside=low)
    rounded = np.empty(grid.size[::-1], dtype=np.int16)
    np.rint(sitk.GetArrayViewFromImage(resampled), out=rounded, casting="unsafe")  # faster than ITK's two filters
    return grid.place(sitk.GetImageFromArray(rounded))


def resample_labels(labels: sitk.Image, grid: Grid) -> sitk.Image:
    """Resample labels onto another grid, uint8: the mask of each label linearly, of which the largest is taken.

    This keeps thin vessels that nearest neighbors would break, and moves no boundary by more than half a voxel.
    Outside the labels' own grid it is background.
    """
    taken = np.zeros(grid.size[::-1], dtype=np.uint8)
    found = _overlapping_parts(labels, grid)
    if found is not None:
        labeled, part, where = found
        taken[where] = _largest_share(labeled, part)
    return grid.place(sitk.GetImageFromArray(taken))


def restore_probabilities(probabilities: Float[ndarray, "k d h w"], grid: Grid, target: Grid) -> sitk.Image:
    """Return the likeliest class of each voxel of `target`, uint8, from class probabilities on `grid`.

    Each class is interpolated linearly; outside `grid` it is class 0. One class at a time, and only where `grid`
    lies in `target`, so that a large CT needs little memory.

    Args:
        probabilities: (classes, d, h, w), on `grid`.
        grid: theirs.
        target: the CT's own grid.
    """
    result = np.zeros(target.size[::-1], dtype=np.uint8)
    first, size = overlap(grid, target)
    if all(size):
        part = crop_grid(target, first, size)
        best = np.zeros(size[::-1], dtype=np.float32)
        taken = np.zeros(size[::-1], dtype=np.uint8)
        for k, probability in enumerate(probabilities):
            image = grid.place(sitk.GetImageFromArray(np.ascontiguousarray(probability, dtype=np.float32)))
            for where, slab in _slabs(part):
                share = sitk.GetArrayFromImage(resample(image, slab))
                taken[where][share > best[where]] = k
                np.maximum(best[where], share, out=best[where])
        result[_array_slices(first, size)] = taken
    return target.place(sitk.GetImageFromArray(result))


def _overlapping_parts(labels: sitk.Image, grid: Grid) -> tuple[sitk.Image, Grid, tuple[slice, ...]] | None:
    """Crop labels and a grid to where they overlap, since most of a CT has no label.

    Returns:
        The labels in the bounding box of what is above 0, the part of `grid` that this box reaches, and the slices of
        an array on `grid` that are this part; None if it reaches nothing.
    """
    box = bounding_box(labels)
    if box is None:
        return None
    # One voxel of background around the labels is all that interpolation sees of the rest.
    start = np.maximum(np.subtract(box[0], 1), 0)
    stop = np.minimum(np.add(box[1], 2), labels.GetSize())
    labeled = sitk.RegionOfInterest(labels, (stop - start).tolist(), start.tolist())
    first, size = overlap(Grid.of(labeled), grid)
    return (labeled, crop_grid(grid, first, size), _array_slices(first, size)) if all(size) else None


def _largest_share(labels: sitk.Image, grid: Grid) -> ndarray:
    """Return the label with the largest share of each voxel of `grid`, (d, h, w); background where that is as large."""
    best = np.zeros(grid.size[::-1], dtype=np.float32)
    rest = np.ones(grid.size[::-1], dtype=np.float32)
    taken = np.zeros(grid.size[::-1], dtype=np.uint8)
    for label in (LIVER, VESSEL, TUMOR):
        found = _overlapping_parts(labels == label, grid)
        if found is None:
            continue
        mask, part, where = found
        share = sitk.GetArrayFromImage(resample(mask, part))
        np.copyto(taken[where], label, where=share > best[where])
        np.maximum(best[where], share, out=best[where])
        rest[where] -= share
    taken[rest >= best] = 0
    return taken


def _average_down(image: sitk.Image, grid: Grid) -> sitk.Image:
    """Average as many whole voxels as fit into one of `grid` along each axis; return the image itself if one does."""
    # The length in voxels of the grid of one step along each axis of the image: its inverse is the factor.
    own = Grid.of(image)
    steps = [np.abs(grid.index(own.physical(step)) - grid.index(own.physical((0, 0, 0)))).max() for step in np.eye(3)]
    factors = [min(max(1, int(1 / step + 1e-3)), n) for step, n in zip(steps, own.size, strict=True)]
    if max(factors) == 1:
        return image
    missing = [-n % factor for n, factor in zip(own.size, factors, strict=True)]
    return sitk.BinShrink(sitk.ZeroFluxNeumannPad(image, (0, 0, 0), missing), factors)


def _slabs(grid: Grid) -> Iterator[tuple[slice, Grid]]:
    """Yield slabs of a few slices of the grid, each after the slices of an array (d, h, w) that it covers."""
    columns, rows, slices = grid.size
    for start in range(0, slices, _SLAB):
        size = (columns, rows, min(_SLAB, slices - start))
        yield slice(start, start + size[2]), crop_grid(grid, (0, 0, start), size)


def _array_slices(first: tuple[int, ...], size: tuple[int, ...]) -> tuple[slice, ...]:
    """Return the slices of an array (d, h, w) for a first index and a size, (x, y, z)."""
    return tuple(slice(start, start + n) for start, n in zip(first[::-1], size[::-1], strict=True))
