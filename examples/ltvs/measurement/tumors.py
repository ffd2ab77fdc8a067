"""One tumor: its size, its place, and how near it comes to vessels and to the surface of the liver."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray
from skimage.measure import marching_cubes

from ltvs.measurement.components import Component, Mask
from ltvs.measurement.diameters import axial_diameters
from ltvs.measurement.gaps import Neighbor
from ltvs.volume.grids import Grid, crop_grid

#: mm from a vessel within which a tumor's surface counts as near it.
NEAR = 5.0


@dataclass(frozen=True)
class Tumor:
    """A tumor: one connected component. Its voxels share at least a corner.

    Args:
        number: its number from 1 on, the largest first.
        volume_ml: its volume.
        longest_axial_diameter_mm: the longest diameter in any axial plane of the patient.
        perpendicular_diameter_mm: the longest line perpendicular to it in that plane.
        center_mm: center of mass, (x, y, z) in the patient's space: to the left, to the back and to the head (LPS).
        distance_to_vessel_mm: from its surface to the nearest vessel's, 0 where they touch. None without vessels.
        distance_to_liver_surface_mm: from its surface to the liver's, 0 where they touch.
        share_of_surface_near_vessel: the share of its surface within 5 mm of a vessel, 0 to 1. None without vessels.
    """

    number: int
    volume_ml: float
    longest_axial_diameter_mm: float
    perpendicular_diameter_mm: float
    center_mm: tuple[float, float, float]
    distance_to_vessel_mm: float | None
    distance_to_liver_surface_mm: float
    share_of_surface_near_vessel: float | None

    def json(self) -> dict[str, Any]:
        """Return the tumor for JSON, with mm rounded to a tenth, and ml and shares to a thousandth."""
        return {
            "number": self.number,
            "volume_ml": round(self.volume_ml, 3),
            "longest_axial_diameter_mm": round(self.longest_axial_diameter_mm, 1),
            "perpendicular_diameter_mm": round(self.perpendicular_diameter_mm, 1),
            "center_mm": [round(mm, 1) for mm in self.center_mm],
            "distance_to_vessel_mm": _rounded(self.distance_to_vessel_mm, 1),
            "distance_to_liver_surface_mm": round(self.distance_to_liver_surface_mm, 1),
            "share_of_surface_near_vessel": _rounded(self.share_of_surface_near_vessel, 3),
        }


def measure_tumor(number: int, component: Component, grid: Grid, vessel: Neighbor | None, outside: Neighbor) -> Tumor:
    """Measure one tumor.

    Args:
        number: that it gets.
        component: its voxels.
        grid: that of the array in which it lies.
        vessel: the vessels, on this grid; None if there are none.
        outside: what is not liver, on this grid.
    """
    mask = component.mask
    d, h, w = mask.shape
    longest, perpendicular = axial_diameters(mask, crop_grid(grid, component.first, (w, h, d)))
    z, y, x = (np.argwhere(mask).mean(axis=0) + [part.start for part in component.box]).tolist()
    cx, cy, cz = grid.physical((x, y, z)).tolist()
    points, voxels, area = surface(mask, grid.spacing[::-1])
    first = [part.start for part in component.box]
    voxels = voxels + first
    near = None if vessel is None else vessel.are_within(points + first, NEAR)
    return Tumor(
        number=number,
        volume_ml=float(np.count_nonzero(mask) * np.prod(grid.spacing) / 1000),
        longest_axial_diameter_mm=longest,
        perpendicular_diameter_mm=perpendicular,
        center_mm=(cx, cy, cz),
        distance_to_vessel_mm=None if vessel is None else vessel.distance(voxels),
        distance_to_liver_surface_mm=outside.distance(voxels),
        share_of_surface_near_vessel=None if near is None else float(area[near].sum() / area.sum()),
    )


def surface(
    mask: Mask, spacing: tuple[float, float, float]
) -> tuple[Float[ndarray, "n 3"], Int[ndarray, "n 3"], Float[ndarray, " n"]]:
    """Return each vertex of the surface of a mask, (d, h, w) in voxels, its voxel, and the area there, mm².

    The surface consists of triangles (marching cubes), whose vertices halve the way between a voxel of the mask and
    one outside. A third of a triangle's area belongs to each of its vertices.

    Args:
        mask: not empty.
        spacing: mm along d, h, w.
    """
    padded = np.pad(mask, 1)
    vertices, triangles, _, _ = marching_cubes(padded.astype(np.float32), 0.5)
    a, b, c = (vertices[triangles[:, k]] * np.array(spacing) for k in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2
    low, high = np.floor(vertices).astype(int), np.ceil(vertices).astype(int)
    voxels = np.where(padded[tuple(low.T)][:, None], low, high) - 1
    share = np.bincount(triangles.ravel(), np.repeat(area / 3, 3), minlength=len(vertices))
    return vertices.astype(float) - 1, voxels, share


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
