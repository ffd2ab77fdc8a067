"""Solids whose measures are known by formula, on grids of voxels in any orientation."""

from dataclasses import replace

import numpy as np
import SimpleITK as sitk
from scipy.spatial.transform import Rotation

from ltvs.volume.grids import Grid

#: Anisotropic grids around the origin: upright, with axes in another order and direction, and tilted about two axes.
UPRIGHT = Grid((89, 85, 53), (0.8, 0.9, 1.7), (-35.3, -37.7, -44.1), (1, 0, 0, 0, 1, 0, 0, 0, 1))
SAGITTAL = Grid((86, 90, 54), (0.9, 0.8, 1.7), (-46.3, -38.1, 36.2), (0, 0, 1, 1, 0, 0, 0, -1, 0))
_TILT = Rotation.from_euler("xyz", (31, -17, 8), degrees=True).as_matrix()
OBLIQUE = Grid(
    (97, 91, 61), (0.8, 0.9, 1.5), tuple((_TILT @ (-38.2, -40.9, -45.1)).tolist()), tuple(_TILT.ravel().tolist())
)
GRIDS = {"upright": UPRIGHT, "sagittal": SAGITTAL, "oblique": OBLIQUE}


def points(grid: Grid) -> np.ndarray:
    """Return the place of each voxel center, mm, (d, h, w, 3)."""
    z, y, x = np.indices(grid.size[::-1])
    steps = np.stack([x, y, z], axis=-1) * grid.spacing
    return steps @ np.reshape(grid.direction, (3, 3)).T + grid.origin


def ellipsoid(grid: Grid, center: tuple[float, ...], half_axes: tuple[float, ...], degrees: float = 0.0) -> np.ndarray:
    """Return the voxels whose center lies in an ellipsoid that is turned about the body axis."""
    turn = Rotation.from_euler("z", degrees, degrees=True).as_matrix()
    return (((points(grid) - center) @ turn / half_axes) ** 2).sum(axis=-1) <= 1


def ball(grid: Grid, center: tuple[float, ...], radius: float) -> np.ndarray:
    """Return the voxels whose center lies in a ball."""
    return ellipsoid(grid, center, (radius,) * 3)


def tube(grid: Grid, through: tuple[float, ...], along: tuple[float, ...], radius: float) -> np.ndarray:
    """Return the voxels whose center is at most `radius` from a straight line."""
    axis = np.array(along) / np.linalg.norm(along)
    away = points(grid) - through
    return (away**2).sum(axis=-1) - (away @ axis) ** 2 <= radius**2


def label_map(grid: Grid, liver: np.ndarray, vessel: np.ndarray, tumor: np.ndarray) -> sitk.Image:
    """Return a label map of masks; tumors lie over vessels, and both over the liver."""
    labels = liver.astype(np.uint8)
    labels[vessel], labels[tumor] = 2, 3
    return grid.place(sitk.GetImageFromArray(labels))


def diagonal(grid: Grid) -> float:
    """Return the diagonal of a voxel, mm."""
    return float(np.linalg.norm(grid.spacing))


def shifted(grid: Grid, by: np.ndarray) -> Grid:
    """Return a grid that is moved by a part of a voxel along each of its axes."""
    x, y, z = grid.physical(by).tolist()
    return replace(grid, origin=(x, y, z))
