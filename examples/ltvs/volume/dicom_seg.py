"""Reading of DICOM segmentations, whose segments are placed on a CT's grid by the positions of their frames."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from highdicom import Volume
from highdicom.seg import Segmentation, segread
from pydicom.valuerep import DSfloat

from ltvs.runtime.errors import InputError, plain
from ltvs.volume.dicom_header import numbers as numbers_of
from ltvs.volume.grids import Grid
from ltvs.volume.label_values import whole_labels
from ltvs.volume.labels import Structure
from ltvs.volume.resampling import resample

#: Voxels by which a segmentation may be off the CT's voxels: more than rounding does, less than labels may move.
_VOXEL_TOLERANCE = 0.1

#: Steps by which a frame may be off its place in an evenly spaced stack.
_FRAME_TOLERANCE = 0.1


def read_segmentation(path: Path) -> Segmentation:
    """Read a DICOM-SEG file.

    Raises:
        InputError: the file cannot be read as one.
    """
    try:
        return segread(path)
    except Exception as error:  # what a damaged file raises depends on where it is damaged
        raise InputError(f"{path}: cannot be read as DICOM-SEG ({_reason(error)}); download it again") from error


def segment_labels(segmentation: Segmentation) -> dict[int, str]:
    """Return the label of each segment by its number."""
    return {int(item.SegmentNumber): str(item.SegmentLabel).strip() for item in segmentation.SegmentSequence}


def references(segmentation: Segmentation) -> tuple[set[str], set[str]]:
    """Return the instance UIDs of the series and of the slices that a segmentation or its frames refer to."""
    found = segmentation.get_source_image_uids()
    return {str(series) for _, series, _ in found}, {str(instance) for _, _, instance in found}


def place_segments(
    path: Path, segmentation: Segmentation, numbers: Mapping[Structure, Sequence[int]], target: Grid
) -> dict[Structure, sitk.Image]:
    """Return the union of some segments for each structure, 0/1, on the grid of a CT.

    highdicom stacks the frames by their positions and orientations, whatever their order; frames without a voxel may be
    missing, and frames may be smaller than the CT. The stack is placed by physical space alone.

    Args:
        path: of the segmentation, for messages.
        segmentation: as read.
        numbers: of the segments of each structure, one or more.
        target: of the CT.

    Raises:
        InputError: the frames are not evenly spaced, lie on another grid, have voxels outside the CT, or hold
            probabilities.
    """
    _check_near(path, segmentation, target)
    segmentation = _with_slice_spacing(segmentation, target.spacing[2])
    return {key: _place(path, segmentation, found, target) for key, found in numbers.items()}


def _check_near(path: Path, segmentation: Segmentation, target: Grid) -> None:
    """Raise InputError for frames far from the CT, before memory is taken for all slices between them."""
    corners = target.corners(edge=0.5)
    middle, reach = corners.mean(axis=0), float(np.linalg.norm(corners[-1] - corners[0]))
    for frame in segmentation.PerFrameFunctionalGroupsSequence:
        for plane in frame.get("PlanePositionSequence", ()):
            position = numbers_of(path, plane, "ImagePositionPatient", 3)
            if position is not None and float(np.linalg.norm(np.subtract(position, middle))) > 2 * reach:
                raise InputError(f"{path}: expected frames at the CT, got one at {plain(position)}; is it damaged?")


def _with_slice_spacing(segmentation: Segmentation, mm: float) -> Segmentation:
    """Return the segmentation with the CT's slice spacing, which is measured, in place of that in its tags.

    highdicom needs it, since frames may be missing, and would take that of the tag, or else the smallest distance of
    two frames, which rounding makes too small.
    """
    for groups in (segmentation.SharedFunctionalGroupsSequence, segmentation.PerFrameFunctionalGroupsSequence):
        for group in groups:
            for measures in group.get("PixelMeasuresSequence", ()):
                measures.SpacingBetweenSlices = DSfloat(mm, auto_format=True)
    return Segmentation.from_dataset(segmentation, copy=False)


def _place(path: Path, segmentation: Segmentation, numbers: Sequence[int], target: Grid) -> sitk.Image:
    """Return the union of some segments, 0/1, on the grid of a CT."""
    volume = _stack(path, segmentation, numbers[0])
    union = whole_labels(path, volume.array) > 0
    for number in numbers[1:]:
        union |= whole_labels(path, _stack(path, segmentation, number).array) > 0
    grid = _grid_of(volume)
    _check_same_voxels(path, grid, target)
    image = grid.place(sitk.GetImageFromArray(union[..., 0].astype(np.uint8)))
    placed = resample(image, target, nearest=True)
    lost = int(union.sum()) - int(sitk.GetArrayViewFromImage(placed).sum())
    if lost:
        raise InputError(f"{path}: {lost} voxels of its segments lie outside the CT; is it of another acquisition?")
    return placed


def _stack(path: Path, segmentation: Segmentation, number: int) -> Volume:
    """Return the frames of one segment as a volume, which is that of the frames of all segments."""
    try:
        return segmentation.get_volume(segment_numbers=[number], skip_overlap_checks=True, rtol=_FRAME_TOLERANCE)
    except Exception as error:  # what a damaged file raises depends on where it is damaged
        raise InputError(f"{path}: its frames cannot be stacked ({_reason(error)})") from error


def _grid_of(volume: Volume) -> Grid:
    """Return the grid of a volume of highdicom, whose axes are those of arrays, slices first."""
    x, y, z = volume.spatial_shape[::-1]
    dx, dy, dz = (float(mm) for mm in volume.spacing[::-1])
    ox, oy, oz = (float(mm) for mm in volume.position)
    return Grid((x, y, z), (dx, dy, dz), (ox, oy, oz), tuple(volume.direction[:, ::-1].ravel().tolist()))


def _check_same_voxels(path: Path, grid: Grid, target: Grid) -> None:
    """Raise InputError unless every voxel of `grid` is a voxel of `target`, or would be if `target` were larger."""
    zero = target.index(grid.physical((0, 0, 0)))
    steps = np.array([target.index(grid.physical(step)) - zero for step in np.eye(3)])
    corners = np.array([target.index(corner) for corner in grid.corners()])
    aligned = np.array_equal(np.sort(np.abs(np.round(steps)), axis=1), [[0, 0, 1]] * 3)
    off = float(np.abs(corners - np.round(corners)).max())
    if not aligned or off > _VOXEL_TOLERANCE:
        raise InputError(
            f"{path}: expected a segmentation on the CT's voxels; got spacing {_mm(grid)} for {_mm(target)} mm, "
            f"off by {off:.2f} voxels; is it of another acquisition?"
        )


def _mm(grid: Grid) -> str:
    return " x ".join(f"{mm:.3f}" for mm in grid.spacing)


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
