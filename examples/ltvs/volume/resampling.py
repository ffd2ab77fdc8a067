"""Resampling of images and labels between the CT's own grid and a network's, through physical space alone."""

from collections.abc import Iterator

import numpy as np
import SimpleITK as sitk
from jaxtyping import Float, UInt8
from numpy import ndarray

from ltvs.volume.grids import Grid, bounding_box, bounding_slices, crop_grid, overlap
from ltvs.volume.labels import LIVER, TUMOR, VESSEL

#: Target slices at a time: enough to use every core, few enough to need little memory.
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
    alone would pick single voxels, and their noise, and skip the others. One slab at a time, of the part of the CT that
    it needs, so that a large CT needs little memory.

    Args:
        ct: HU, int16.
        grid: the target.
        window: lowest and highest HU.
    """
    low, high = window
    factors = _factors(Grid.of(ct), grid)
    rounded = np.empty(grid.size[::-1], dtype=np.int16)
    for where, slab in _slabs(grid):
        clipped = sitk.Clamp(_reached_part(ct, slab, factors), sitk.sitkInt16, low, high)
        resampled = resample(_average_down(clipped, factors), slab, outside=low)
        np.rint(
            sitk.GetArrayViewFromImage(resampled), out=rounded[where], casting="unsafe"
        )  # faster than ITK's filters
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

    Each class is interpolated linearly; outside `grid` it is class 0. One slab at a time, and only where a class other
    than 0 is the likeliest nearby, so that a large CT needs little memory and time.

    Args:
        probabilities: (classes, d, h, w), on `grid`.
        grid: theirs.
        target: the CT's own grid.
    """
    result = np.zeros(target.size[::-1], dtype=np.uint8)
    found = np.zeros(grid.size[::-1], dtype=bool)
    for probability in probabilities[1:]:
        found |= probability > probabilities[0]
    for where, slab in _slabs(target):
        first, size = overlap(slab, grid)
        # The voxels of the grid within the slab, and one more on every side.
        near = tuple(slice(max(0, start - 1), start + n + 1) for start, n in zip(first[::-1], size[::-1], strict=True))
        box = bounding_slices(found[near])
        if box is not None:
            inner = [slice(max(0, n.start + b.start - 1), n.start + b.stop + 1) for n, b in zip(near, box, strict=True)]
            _restore_slab(probabilities[:, *inner], crop_grid(grid, *_first_and_size(inner, grid)), slab, result[where])
    return target.place(sitk.GetImageFromArray(result))


def _restore_slab(
    probabilities: Float[ndarray, "k d h w"], grid: Grid, slab: Grid, result: UInt8[ndarray, "d h w"]
) -> None:
    """Write the likeliest class of each voxel of `slab` that lies in `grid` into `result`, which is 0 so far."""
    first, size = overlap(grid, slab)
    if not all(size):
        return
    part, taken = crop_grid(slab, first, size), result[_array_slices(first, size)]
    best = np.zeros(size[::-1], dtype=np.float32)
    for k, probability in enumerate(probabilities):
        image = grid.place(sitk.GetImageFromArray(np.ascontiguousarray(probability, dtype=np.float32)))
        resampled = resample(image, part)
        share = sitk.GetArrayViewFromImage(resampled)  # valid as long as the image is
        taken[share > best] = k
        np.maximum(best, share, out=best)


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


def _factors(own: Grid, grid: Grid) -> list[int]:
    """Return how many whole voxels of `own` fit into one of `grid` along each axis of `own`, at least 1."""
    # The length in voxels of the grid of one step along each axis of the image: its inverse is the factor.
    steps = [np.abs(grid.index(own.physical(step)) - grid.index(own.physical((0, 0, 0)))).max() for step in np.eye(3)]
    return [min(max(1, int(1 / step + 1e-3)), n) for step, n in zip(steps, own.size, strict=True)]


def _reached_part(image: sitk.Image, grid: Grid, factors: list[int]) -> sitk.Image:
    """Crop an image to the voxels that decide its values on `grid`, in whole blocks of `factors` voxels."""
    first, size = overlap(grid, Grid.of(image))
    ends = zip(first, size, factors, image.GetSize(), strict=True)
    # A voxel and a block more on every side: neighbors of the outermost voxels that lie in the grid are used, too.
    spans = [(max(0, (a - 1) // f - 1) * f, min(n, -(-(a + s + 1) // f) * f + f)) for a, s, f, n in ends]
    return sitk.RegionOfInterest(image, [stop - start for start, stop in spans], [start for start, _ in spans])


def _average_down(image: sitk.Image, factors: list[int]) -> sitk.Image:
    """Average blocks of `factors` voxels; return the image itself where that is one voxel."""
    if max(factors) == 1:
        return image
    missing = [-n % factor for n, factor in zip(image.GetSize(), factors, strict=True)]
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


def _first_and_size(box: list[slice], grid: Grid) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return first index and size, (x, y, z), of the slices of an array (d, h, w) on `grid`, which they may exceed."""
    ends = [(s.start, min(s.stop, n)) for s, n in zip(box[::-1], grid.size, strict=True)]
    return tuple(start for start, _ in ends), tuple(stop - start for start, stop in ends)
