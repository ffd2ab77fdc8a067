"""The part of a CT that a page shows, in voxels coarse enough for its size."""

import math
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from jaxtyping import Bool, UInt8
from numpy import ndarray
from scipy.ndimage import label

from ltvs.volume.grids import Grid, bounding_box, bounding_slices
from ltvs.volume.labels import BACKGROUND, LIVER, TUMOR, VESSEL

#: Voxels of a page: a CT of 512 x 512 x 200 is shown with half its columns and rows.
MOST_VOXELS = 14_000_000

#: A CT with more than this times as many voxels is cut to the slices near its labels first, however coarse it becomes.
_CROPPED_FROM = 4
#: mm of CT above and below the labels that are kept.
_MARGIN = 40.0
#: Axes whose voxels are this alike in length are coarsened together.
_ALIKE = 1.01


@dataclass(frozen=True)
class Shown:
    """A CT and labels as a page shows them, on one grid whose axes lie nearest to right, front and head.

    Args:
        ct: HU, int16: means of blocks of voxels.
        labels: uint8.
        blocks: voxels of the CT, along its x, y and z, per voxel that is shown.
        is_cropped: whether slices far from the labels are left out.
    """

    ct: sitk.Image
    labels: sitk.Image
    blocks: tuple[int, int, int]
    is_cropped: bool


def shown_part(ct: sitk.Image, labels: sitk.Image, most: int = MOST_VOXELS) -> Shown:
    """Crop a CT and its labels if they have very many voxels, and coarsen them until they have few enough.

    Args:
        ct: HU, int16.
        labels: label map on its grid.
        most: voxels.
    """
    is_cropped = ct.GetNumberOfPixels() > _CROPPED_FROM * MOST_VOXELS
    if is_cropped:
        start, size = _near_labels(labels)
        is_cropped = size != ct.GetSize()
        ct, labels = (sitk.RegionOfInterest(image, size, start) for image in (ct, labels))
    blocks = blocks_for(ct.GetSize(), ct.GetSpacing(), most)
    grid = _coarse_grid(Grid.of(ct), blocks)
    missing = [n * block - own for n, block, own in zip(grid.size, blocks, ct.GetSize(), strict=True)]
    means = sitk.BinShrink(sitk.ZeroFluxNeumannPad(ct, (0, 0, 0), missing), blocks)
    padded = sitk.GetArrayFromImage(sitk.ZeroFluxNeumannPad(labels, (0, 0, 0), missing))
    coarse = coarse_labels(padded, blocks[::-1])
    images = (grid.place(image) for image in (means, sitk.GetImageFromArray(coarse)))
    ct, labels = (sitk.DICOMOrient(image, "RAS") for image in images)
    return Shown(ct, labels, blocks, is_cropped)


def blocks_for(size: tuple[int, ...], spacing: tuple[float, ...], most: int) -> tuple[int, int, int]:
    """Return how many voxels to join along each axis: always along the finest one or ones, until they are few enough.

    Args:
        size: voxels along x, y, z.
        spacing: mm between them.
        most: voxels.

    Example:
        >>> blocks_for((512, 512, 200), (0.7, 0.7, 1.0), 14_000_000)
        (2, 2, 1)
    """
    blocks = np.ones(3, dtype=int)
    while math.prod(np.ceil(np.divide(size, blocks)).astype(int).tolist()) > most:
        # An axis that is one block long cannot become shorter.
        lengths = np.where(blocks < size, np.multiply(spacing, blocks), np.inf)
        blocks[lengths <= lengths.min() * _ALIKE] += 1
    x, y, z = blocks.tolist()
    return x, y, z


def coarse_labels(labels: UInt8[ndarray, "d h w"], blocks: tuple[int, int, int]) -> UInt8[ndarray, "k m n"]:
    """Return the label of each block of voxels: the one with most of them, the rarer structure of equal ones.

    A tumor that would vanish takes every block that it touches.

    Args:
        labels: whole blocks along each axis.
        blocks: voxels of a block along each axis.

    Example:
        >>> coarse_labels(np.array([[[1, 1, 1, 3, 0, 0]]], np.uint8), (1, 1, 3))
        array([[[1, 3]]], dtype=uint8)
    """
    coarse = np.zeros(tuple(n // block for n, block in zip(labels.shape, blocks, strict=True)), dtype=np.uint8)
    box = bounding_slices(labels > BACKGROUND)
    if box is None:
        return coarse
    # Whole blocks around all labels.
    ends = [(part.start // block, -(-part.stop // block), block) for part, block in zip(box, blocks, strict=True)]
    inner = labels[tuple(slice(start * block, stop * block) for start, stop, block in ends)]
    coarse[tuple(slice(start, stop) for start, stop, _ in ends)] = _largest_counts(inner, blocks)
    return coarse


def _largest_counts(labels: UInt8[ndarray, "d h w"], blocks: tuple[int, int, int]) -> UInt8[ndarray, "k m n"]:
    tumor = labels == TUMOR
    counts = {name: _count(labels == name, blocks) for name in (BACKGROUND, LIVER, VESSEL)}
    counts[TUMOR] = _count(tumor, blocks)
    coarse = np.zeros(counts[TUMOR].shape, dtype=np.uint8)
    most = counts[BACKGROUND]
    for name in (LIVER, VESSEL, TUMOR):
        taken = (counts[name] >= most) & (counts[name] > 0)
        coarse[taken] = name
        most = np.maximum(most, counts[name])
    bodies, _ = label(tumor, np.ones((3, 3, 3)))
    places = np.array(np.nonzero(tumor))
    body, block = bodies[tuple(places)], tuple(places // np.reshape(blocks, (3, 1)))
    lost = ~np.isin(body, body[coarse[block] == TUMOR])
    coarse[tuple(axis[lost] for axis in block)] = TUMOR
    return coarse


def _count(mask: Bool[ndarray, "d h w"], blocks: tuple[int, int, int]) -> ndarray:
    """Return how many voxels of each block are in a mask."""
    (d, h, w), (k, m, n) = mask.shape, blocks
    counts: ndarray = mask.reshape(d // k, k, h // m, m, w // n, n).sum(axis=(1, 3, 5), dtype=np.int32)
    return counts


def _near_labels(labels: sitk.Image) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return first voxel and size of the slices near the labels, along the axis nearest to head; of all without any."""
    start, size = [0, 0, 0], list(labels.GetSize())
    box = bounding_box(labels)
    if box is not None:
        axis = int(np.abs(np.reshape(labels.GetDirection(), (3, 3))[2]).argmax())
        margin = math.ceil(_MARGIN / labels.GetSpacing()[axis])
        start[axis] = max(0, box[0][axis] - margin)
        size[axis] = min(size[axis], box[1][axis] + 1 + margin) - start[axis]
    return tuple(start), tuple(size)


def _coarse_grid(grid: Grid, blocks: tuple[int, int, int]) -> Grid:
    """Return the grid of blocks of voxels; the last ones may reach beyond the grid."""
    x, y, z = (-(-n // block) for n, block in zip(grid.size, blocks, strict=True))
    first = grid.physical(np.subtract(blocks, 1) / 2)
    dx, dy, dz = (mm * block for mm, block in zip(grid.spacing, blocks, strict=True))
    return Grid((x, y, z), (dx, dy, dz), tuple(first.tolist()), grid.direction)
