"""The longest axial diameter of a lesion and its perpendicular, as RECIST and WHO have readers draw them.

Both lie in one axial plane of the patient, perpendicular to the axis from foot to head, whatever the grid: the one in
which the diameter is longest. An outline is where the mask, interpolated linearly between voxel centers, is 0.5: on a
flat surface at most half a voxel from the true one. Areas that are apart have an outline each, and no diameter reaches
from one to the other.

Areas of a slice that touch in no more than a corner have one outline. Where slices are oblique, that holds for a lesion
of up to 180 times the smallest spacing, and for planes that pass the corner no farther than 0.1 of the slices' spacing
beyond the center of the last slice that has it; beyond, they may have two outlines. Where a plane passes from a slice
to the next, areas of the two that share no more than a corner may have one outline or two.
"""

import math
from collections.abc import Iterator

import numpy as np
import SimpleITK as sitk
from jaxtyping import Bool, Float, Float32
from numpy import ndarray
from scipy.spatial import ConvexHull
from scipy.spatial.distance import pdist, squareform
from skimage.measure import find_contours

from ltvs.volume.grids import Grid
from ltvs.volume.resampling import resample

Mask = Bool[ndarray, "d h w"]
Plane = Float[ndarray, "rows columns"]
Points = Float[ndarray, "n 2"]

#: Sine of a tilt that moves a plane by less than a voxel across any lesion: such slices are axial as they are.
_UPRIGHT = 1e-3
#: Planes that are interpolated at a time, and the most across a lesion; there are two per voxel if these suffice.
_AT_ONCE, _MOST_PLANES = 16, 300
#: Value between two voxels that share a corner, in the two empty ones beside it. The middle of the four gets 0.625, so
#: that the neck has 0.8 voxels at 0.5, more than the step between samples; an empty voxel stays below 0.5.
_BESIDE_CORNER = 0.25
#: Vertices of an outline that are compared with each other as they are: fewer may lie on a line, which has no hull.
_FEW = 64


def axial_diameters(mask: Mask, grid: Grid) -> tuple[float, float]:
    """Return the longest diameter in any axial plane, and the longest line perpendicular to it in that plane.

    Args:
        mask: one lesion, (d, h, w), not empty.
        grid: of the mask; any orientation and spacing.

    Returns:
        Both in mm.

    Example:
        >>> grid = Grid((1, 9, 2), (0.5, 0.7, 3.0), (0, 0, 0), (1, 0, 0, 0, 1, 0, 0, 0, 1))
        >>> [round(mm, 3) for mm in axial_diameters(np.ones((2, 9, 1), dtype=bool), grid)]
        [6.3, 0.5]
    """
    longest, ends, outline = _longest(mask, grid)
    return longest, _longest_across(outline, ends[1] - ends[0])


def longest_axial_diameter(mask: Mask, grid: Grid) -> float:
    """Return the first of `axial_diameters` alone, which takes less time.

    Args:
        mask: one lesion, (d, h, w), not empty.
        grid: of the mask; any orientation and spacing.

    Returns:
        mm.

    Example:
        >>> grid = Grid((1, 9, 2), (0.5, 0.7, 3.0), (0, 0, 0), (1, 0, 0, 0, 1, 0, 0, 0, 1))
        >>> round(longest_axial_diameter(np.ones((2, 9, 1), dtype=bool), grid), 3)
        6.3
    """
    return _longest(mask, grid)[0]


def _longest(mask: Mask, grid: Grid) -> tuple[float, Points, Points]:
    """Return the longest diameter, its two ends and the outline that they lie on."""
    longest, ends, outline = 0.0, np.zeros((2, 2)), np.zeros((0, 2))
    for plane, steps in _axial_planes(mask, grid):
        if _most(plane, steps) <= longest:
            continue
        for contour in find_contours(np.pad(plane, 1), 0.5, fully_connected="high"):
            points = contour[:-1] * steps
            pair = _farthest(points)
            if (length := math.dist(*pair)) > longest:
                longest, ends, outline = length, pair, points
    return longest, ends, outline


def _axial_planes(mask: Mask, grid: Grid) -> Iterator[tuple[Plane, tuple[float, float]]]:
    """Yield the mask in axial planes, with the mm between rows and between columns."""
    to_head = np.reshape(grid.direction, (3, 3))[2]
    axis = int(np.abs(to_head).argmax())
    if np.delete(to_head, axis) @ np.delete(to_head, axis) <= _UPRIGHT**2:
        rows, columns = np.delete(grid.spacing[::-1], 2 - axis).tolist()
        planes = np.moveaxis(mask, 2 - axis, 0)
        yield from ((planes[k].astype(np.float32), (rows, columns)) for k in _from_the_middle(len(planes)))
    else:
        yield from _interpolated_planes(mask, grid, 2 - axis)


def _interpolated_planes(mask: Mask, grid: Grid, axis: int) -> Iterator[tuple[Plane, tuple[float, float]]]:
    """Yield an oblique mask in axial planes, interpolated linearly; `axis` is the one across its slices."""
    padded = Grid(*(_padded(grid)), grid.direction)
    image = padded.place(sitk.GetImageFromArray(_joined_at_corners(np.pad(mask, 1), axis)))
    corners = padded.corners()
    step = max(min(grid.spacing) / 2, float(np.ptp(corners, axis=0).max()) / _MOST_PLANES)
    # One of the points is the center of a voxel of the lesion, so that a lesion of one voxel cannot fall between them.
    voxels = np.argwhere(mask)[:, ::-1]
    center = grid.physical(voxels[((voxels - voxels.mean(axis=0)) ** 2).sum(axis=1).argmin()])
    low = np.ceil((center - corners.min(axis=0)) / step).astype(int)
    width, height, planes = (low + np.ceil((corners.max(axis=0) - center) / step).astype(int) + 1).tolist()
    x, y, z = (center - low * step).tolist()
    for start in (k * _AT_ONCE for k in _from_the_middle(-(-planes // _AT_ONCE))):
        size = (width, height, min(_AT_ONCE, planes - start))
        slab = Grid(size, (step, step, step), (x, y, z + start * step), tuple(np.eye(3).ravel().tolist()))
        for plane in sitk.GetArrayFromImage(resample(image, slab)):
            yield plane, (step, step)


def _joined_at_corners(mask: Mask, axis: int) -> Float32[ndarray, "d h w"]:
    """Return a mask as numbers that stay above 0.5 between voxels of a slice that share a corner, across an axis.

    Interpolation alone gives 0.5 there. Surfaces beside such a corner are up to 1/6 of a voxel farther out by that. A
    flat or round one has none: of the four voxels around a corner, those that are diagonal to each other have the same
    sum of places, and of squared distances to any point.
    """
    values = mask.astype(np.float32)
    for step in (1, -1):
        inside, given = np.moveaxis(mask, axis, 0)[..., ::step], np.moveaxis(values, axis, 0)[..., ::step]
        corner = inside[:, :-1, :-1] & inside[:, 1:, 1:] & ~inside[:, :-1, 1:] & ~inside[:, 1:, :-1]
        given[:, :-1, 1:][corner] = given[:, 1:, :-1][corner] = _BESIDE_CORNER
    return values


def _from_the_middle(count: int) -> list[int]:
    """Return 0 to `count` - 1, those in the middle first: long diameters are there, and spare the search for others."""
    return sorted(range(count), key=lambda k: abs(2 * k + 1 - count))


def _padded(grid: Grid) -> tuple[tuple[int, int, int], tuple[float, float, float], tuple[float, float, float]]:
    """Return size, spacing and origin of a grid with one more voxel on every side."""
    (x, y, z), (a, b, c) = grid.size, grid.physical((-1, -1, -1)).tolist()
    return (x + 2, y + 2, z + 2), grid.spacing, (a, b, c)


def _most(plane: Plane, steps: tuple[float, float]) -> float:
    """Return a length that no diameter of the plane exceeds, mm: the diagonal of a box around its outlines."""
    inside = plane >= 0.5
    sides = [np.flatnonzero(inside.any(axis=axis)) for axis in (1, 0)]
    if not sides[0].size:
        return 0.0
    return math.hypot(*(float(np.ptp(side) + 2) * step for side, step in zip(sides, steps, strict=True)))


def _farthest(points: Points) -> Points:
    """Return the two points that are farthest apart, (2, 2)."""
    if len(points) > _FEW:
        points = points[ConvexHull(points).vertices]
    apart = squareform(pdist(points))
    return points[list(np.unravel_index(apart.argmax(), apart.shape))]


def _longest_across(outline: Points, along: Float[ndarray, " 2"]) -> float:
    """Return the longest line between two points of a closed outline that is perpendicular to a direction.

    Between the places of two vertices along the direction, lines across grow or shrink steadily: a longest one passes
    through a vertex.
    """
    u, v = outline @ along / np.linalg.norm(along), outline @ (along[1], -along[0]) / np.linalg.norm(along)
    u_next, v_next = np.roll(u, -1), np.roll(v, -1)
    rising = u != u_next
    slope = (v_next - v)[rising] / (u_next - u)[rising]
    low, high = np.minimum(u, u_next)[rising], np.maximum(u, u_next)[rising]
    longest = 0.0
    for place in u:
        crossed = (low <= place) & (place <= high)
        across = v[rising][crossed] + slope[crossed] * (place - u[rising][crossed])
        longest = max(longest, float(np.ptp(across)))
    return longest
