"""Closed surfaces of the structures of a label map, with the volume of their voxels.

A surface runs between the voxels of a structure and all others: marching cubes gives its triangles, and every point
stays on the line from a voxel inside to one outside, where `sliding` moves it. So a vessel one voxel wide stays whole.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product

import numpy as np
import SimpleITK as sitk
from jaxtyping import Bool, Float, Float32, Int32
from numpy import ndarray
from scipy.ndimage import gaussian_filter, label, maximum_filter
from skimage.measure import marching_cubes

from ltvs.delivery.sliding import Lines, slide
from ltvs.volume.grids import Grid, bounding_slices, crop_grid
from ltvs.volume.labels import BACKGROUND, STRUCTURES, Structure, structure_mask

#: Triangles of one structure beyond which it is drawn from larger voxels.
MOST_TRIANGLES = 300_000

#: Voxels are joined along the axes whose spacing is below this times the finest one.
_ALIKE = 1.5

#: mm of bumps that contours drawn slice by slice leave; thinner structures are not smoothed.
_SMOOTHED = {"liver": 2.0}

#: Share of the volume that smoothing may cost: more of it goes where a structure is not much thicker than the bumps.
_MOST_LOST = 0.01

#: Voxels are of one part if they share a side, an edge or a corner.
_TOUCHING = np.ones((3, 3, 3), bool)


@dataclass(frozen=True)
class Surface:
    """The closed surface of one structure. Two triangles share each edge, and all run counterclockwise from outside.

    Args:
        points: (x, y, z) of each point in mm, LPS as in DICOM.
        faces: the indices of the three points of each triangle.
    """

    points: Float[ndarray, "n 3"]
    faces: Int32[ndarray, "m 3"]


def structure_surfaces(labels: sitk.Image, names: Iterable[Structure] = STRUCTURES) -> dict[Structure, Surface]:
    """Return the surfaces of the liver (the whole organ), of vessels and of tumors, except those without voxels.

    Args:
        labels: a label map of the pipeline, on any grid.
        names: the structures to draw.

    Examples:
        >>> block = sitk.GetImageFromArray(np.pad(np.full((3, 4, 5), 3, np.uint8), 1))
        >>> {name: len(surface.faces) for name, surface in structure_surfaces(block).items()}
        {'liver': 184, 'tumor': 184}
    """
    array = sitk.GetArrayViewFromImage(labels)
    box = bounding_slices(array > BACKGROUND)
    if box is None:
        return {}
    array = array[box]
    grid = crop_grid(Grid.of(labels), [part.start for part in box[::-1]], array.shape[::-1])
    masks = ((name, structure_mask(array, name)) for name in names)
    return {name: mask_surface(mask, grid, _SMOOTHED.get(name, 0.0)) for name, mask in masks if mask.any()}


def mask_surface(mask: Bool[ndarray, "d h w"], grid: Grid, smoothed: float = 0.0) -> Surface:
    """Return the surface of the voxels of a mask, one or more, with their volume.

    Args:
        mask: on `grid`. What touches its edge is closed there.
        grid: of any orientation, left-handed ones too.
        smoothed: mm of bumps and dents that are smoothed away; with 0, every voxel stays on its side of the surface.
            A structure that would lose volume is not smoothed.

    Raises:
        ValueError: the mask is empty.
    """
    box = bounding_slices(mask)
    if box is None:
        raise ValueError("mask_surface: expected a mask with voxels above 0, got an empty one")
    spacing = np.array(grid.spacing[::-1])
    share, blocks = _joined(mask[box], spacing)
    edge = 1 + np.ceil(3 * smoothed / (spacing * blocks)).astype(int)
    share = np.pad(share, [(n, n) for n in edge])
    inside = _inside(share)
    if smoothed:
        share, inside = _smoothed(share, inside, smoothed / (spacing * blocks))
    volume = float(np.count_nonzero(mask) * spacing.prod())
    lines = _lines(share, inside, spacing * blocks, volume)
    moved = slide(lines)
    if smoothed and _volume(moved, lines.faces) < (1 - _MOST_LOST) * volume:
        return mask_surface(mask, grid)
    # From mm within the padded box to voxels of the grid, slices first.
    index = moved / spacing - edge * blocks + (blocks - 1) / 2 + [part.start for part in box]
    direction = np.reshape(grid.direction, (3, 3))
    points = grid.origin + (index[:, ::-1] * grid.spacing) @ direction.T
    outward = lines.faces if np.linalg.det(direction) > 0 else lines.faces[:, ::-1]
    return Surface(points, np.ascontiguousarray(outward))


def _volume(points: Float[ndarray, "n 3"], faces: Int32[ndarray, "m 3"]) -> float:
    """Return the volume within a closed surface, whichever way its triangles face."""
    a, b, c = (points[faces[:, k]] for k in range(3))
    return abs(float(np.einsum("ij,ij->", a, np.cross(b, c)))) / 6


def _joined(mask: Bool[ndarray, "d h w"], spacing: Float[ndarray, "3"]) -> tuple[Float32[ndarray, "a b c"], ndarray]:
    """Return the share of the mask in blocks of voxels, few enough to draw, and the voxels of a block along each axis.

    Blocks are near to cubes: axes with the finest spacing are halved first.
    """
    share, blocks = mask.astype(np.float32), np.ones(3, int)
    while 2 * _crossings(share) > MOST_TRIANGLES:
        step = np.where(spacing * blocks < _ALIKE * (spacing * blocks).min(), 2, 1)
        blocks = blocks * step
        padded = np.pad(share, [(0, -n % k) for n, k in zip(share.shape, step, strict=True)])
        a, b, c = np.array(padded.shape) // step
        share = padded.reshape(a, step[0], b, step[1], c, step[2]).mean(axis=(1, 3, 5))
    return share, blocks


def _crossings(share: Float32[ndarray, "d h w"]) -> int:
    """Return the number of neighbors of which one is inside: the points of the surface, about half its triangles."""
    inside = np.pad(_inside(share), 1)
    return sum(int(np.count_nonzero(np.diff(inside, axis=axis))) for axis in range(3))


def _inside(share: Float32[ndarray, "d h w"]) -> Bool[ndarray, "d h w"]:
    """Return the blocks that are drawn: at least half in the structure, or with more of it than their neighbors.

    Without the latter, small parts would be lost where voxels are joined.
    """
    if np.array_equal(share, share > 0):
        return np.asarray(share > 0)
    return np.asarray((share >= 0.5) | ((share > 0) & (share == maximum_filter(share, 3))))


def _smoothed(
    share: Float32[ndarray, "d h w"], inside: Bool[ndarray, "d h w"], sigma: Float[ndarray, "3"]
) -> tuple[Float32[ndarray, "d h w"], Bool[ndarray, "d h w"]]:
    """Smooth shares by a Gaussian, `sigma` voxels along each axis; return them and what is inside.

    Parts that would be lost stay as they are.
    """
    smooth = gaussian_filter(share, sigma, truncate=3)
    parts, count = label(inside, _TOUCHING)
    lost = np.ones(count + 1, bool)
    lost[parts[smooth >= 0.5]] = lost[0] = False
    return np.where(lost[parts], share, smooth), (smooth >= 0.5) | lost[parts]


def _lines(
    share: Float32[ndarray, "d h w"], inside: Bool[ndarray, "d h w"], spacing: Float[ndarray, "3"], volume: float
) -> Lines:
    """Return the lines on which the points of a surface lie, and its triangles.

    Args:
        share: of the structure in each voxel.
        inside: voxels that are drawn; none at the edge.
        spacing: mm.
        volume: of all parts together, mm3.
    """
    # Lewiner's marching cubes, scikit-image's default, shares some edges among four triangles; Lorensen's does not.
    corners, faces, _, _ = marching_cubes(np.where(inside, np.float32(1), np.float32(-1)), 0.0, method="lorensen")
    ends = np.stack([np.floor(corners), np.ceil(corners)]).astype(int)
    first_inside = inside[tuple(ends[0].T)]
    start, stop = np.where(first_inside[:, None], ends, ends[::-1])
    parts, count = label(inside, _TOUCHING)
    part = parts[tuple(start.T)] - 1
    volumes = np.bincount(parts.ravel(), weights=share.ravel(), minlength=count + 1)[1:]
    # What lies in blocks that are not drawn belongs to those that are.
    volumes *= volume / volumes.sum()
    owed = _owed(share, inside, corners, faces) * spacing.prod()
    return Lines(start * spacing, (stop - start) * spacing, part, volumes, owed, faces)


def _owed(
    share: Float32[ndarray, "d h w"],
    inside: Bool[ndarray, "d h w"],
    corners: Float32[ndarray, "n 3"],
    faces: Int32[ndarray, "m 3"],
) -> Float[ndarray, " n"]:
    """Return the voxels that the surface lacks near each point, by the cubes of eight voxels that it runs through.

    Where it bends, as around thin vessels, it cuts corners.
    """
    cubes, cube = np.unique(np.floor(corners[faces].mean(axis=1)).astype(int), axis=0, return_inverse=True)
    cube = cube.ravel()
    eight = [tuple((cubes + shift).T) for shift in product((0, 1), repeat=3)]
    case = sum(inside[index].astype(int) << k for k, index in enumerate(eight))
    lacking = np.mean([share[index] for index in eight], axis=0) - _SHARES[case]
    per_face = lacking[cube] / np.bincount(cube)[cube]
    return np.asarray(np.bincount(faces.ravel(), np.repeat(per_face / 3, 3), len(corners)))


def _share_per_case() -> Float[ndarray, "256"]:
    """Return the share of a cube that is inside for each choice of its corners, between which values run linearly."""
    near = (np.arange(16) + 0.5) / 16
    sides = np.stack([1 - near, near])
    weights = np.einsum("ax,by,cz->abcxyz", sides, sides, sides).reshape(8, -1)
    corners = np.where(np.arange(256)[:, None] >> np.arange(8) & 1, 1.0, -1.0)
    return np.asarray((corners @ weights > 0).mean(axis=1))


_SHARES = _share_per_case()
