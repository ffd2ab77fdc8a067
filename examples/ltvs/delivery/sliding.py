"""Points of a surface that slide on the lines between voxels, until it is smooth and has the volume of its voxels.

A point stays between the centers of the two voxels of its line, so that no center changes sides and no triangle leaves
the cube of eight centers that it lies in. Smoothing takes volume where a surface bends, and would make threads of thin
vessels; what it takes is noted, and paid back nearby at the end.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray
from scipy.sparse import csr_matrix, identity

#: Steps of smoothing, and then of paying back.
_SMOOTHING, _PAYING = 30, 2

#: Points from neighbor to neighbor among which lost volume is shared out: more than the pixels of most terraces, which
#: slices 5 mm apart make, since terraces are what is to be smoothed away.
_REACH = 30

#: Share of a line, at both ends, that a point keeps off while it is smoothed.
_ENDS = 0.05

#: Cosine between a line and the surface's normal that is taken where they are more across: points would run away.
_STEEPEST = 0.1

#: Halvings of the range in which the factor is found that gives each part its volume.
_HALVINGS = 20

#: Logarithm of the largest such factor, which takes a point from the middle of its line to 0.998 of it.
_WIDEST = 6.0


@dataclass(frozen=True)
class Lines:
    """The lines on which the points of a surface slide, and its triangles.

    Args:
        start: (n, 3), center of the voxel inside, mm, slices first.
        step: (n, 3), from there to the voxel outside, mm.
        part: (n,), number of the connected part of the structure.
        volumes: (parts,), mm3 that each part has to have.
        owed: (n,), mm3 that the surface lacks near each point while the points are in the middle of their lines.
        faces: (m, 3), indices of the points of each triangle, all seen from outside or all from inside.
    """

    start: Float[ndarray, "n 3"]
    step: Float[ndarray, "n 3"]
    part: Int[ndarray, " n"]
    volumes: Float[ndarray, " parts"]
    owed: Float[ndarray, " n"]
    faces: Int[ndarray, "m 3"]

    def points(self, place: Float[ndarray, " n"]) -> Float[ndarray, "n 3"]:
        """Return the points, mm, at places on their lines: 0 is inside, 1 outside."""
        return np.asarray(self.start + place[:, None] * self.step)

    def normals(self, place: Float[ndarray, " n"]) -> Float[ndarray, "n 3"]:
        """Return normals that point outward, as long as a third of the area of a point's triangles, mm2.

        A point that moves by a vector changes the volume by the product of normal and vector.
        """
        points = self.points(place)
        a, b, c = (points[self.faces[:, k]] for k in range(3))
        (x, y, z), (u, v, w) = (b - a).T, (c - a).T
        normals = np.asarray(
            self._triangles_of_points @ np.stack([y * w - z * v, z * u - x * w, x * v - y * u], axis=1)
        )
        return normals / 6 if (normals * self.step).sum() > 0 else -normals / 6

    @cached_property
    def _triangles_of_points(self) -> csr_matrix:
        """The matrix that has 1 where a point belongs to a triangle."""
        corner, count = self.faces.ravel(), len(self.faces)
        where = (corner, np.repeat(np.arange(count), 3))
        return csr_matrix((np.ones(len(corner)), where), shape=(len(self.start), count))

    @cached_property
    def neighbors(self) -> csr_matrix:
        """The matrix that has 1 where two points share an edge; closed surfaces have each edge both ways."""
        start, stop, count = self.faces[:, [0, 1, 2]].ravel(), self.faces[:, [1, 2, 0]].ravel(), len(self.start)
        return csr_matrix((np.ones(len(start)), (start, stop)), shape=(count, count))


def slide(lines: Lines) -> Float[ndarray, "n 3"]:
    """Return the points of a smooth surface of which each part has its volume, mm, slices first."""
    place, owed = np.full(len(lines.start), 0.5), lines.owed
    mean = _rows_scaled(lines.neighbors)
    share = csr_matrix(_rows_scaled(lines.neighbors + identity(len(place), format="csr")).T)
    normals = lines.normals(place)
    gain = (normals * lines.step).sum(axis=1)
    # A thin vessel that is smoothed to a thread gains little per step, until it has become thicker again.
    least = np.maximum(gain, 0) / 2
    for step in range(_SMOOTHING + _PAYING):
        if step < _SMOOTHING:
            shift = _toward_neighbors(lines, place, mean, share @ normals)
        else:
            shift = _raised(lines, share, owed, np.maximum(gain, least))
        moved = np.clip(place + shift, _ENDS, 1 - _ENDS)
        before, normals = gain, lines.normals(moved)
        gain = (normals * lines.step).sum(axis=1)
        # The mean of both is exact where the cross section changes as that of a tube does, with the square.
        owed = owed - (before + gain) / 2 * (moved - place)
        place = moved
    return lines.points(_filled(lines, place))


def _rows_scaled(matrix: csr_matrix) -> csr_matrix:
    """Return the matrix with rows that sum to 1."""
    return csr_matrix(matrix.multiply(1 / matrix.sum(axis=1)))


def _toward_neighbors(
    lines: Lines, place: Float[ndarray, " n"], mean: csr_matrix, normals: Float[ndarray, "n 3"]
) -> Float[ndarray, " n"]:
    """Return by how much points slide to where their lines meet the plane through the middle of their neighbors."""
    points = lines.points(place)
    steepest = _STEEPEST * np.linalg.norm(lines.step, axis=1) * np.linalg.norm(normals, axis=1)
    along = np.maximum((normals * lines.step).sum(axis=1), steepest)
    # Not all the way: two points that wait for each other would swap for ever.
    return np.asarray(0.9 * (normals * (mean @ points - points)).sum(axis=1) / np.maximum(along, 1e-12))


def _raised(
    lines: Lines, share: csr_matrix, owed: Float[ndarray, " n"], gain: Float[ndarray, " n"]
) -> Float[ndarray, " n"]:
    """Return by how much points slide so that each neighborhood gains what it is owed, raised by the same mm.

    Args:
        lines: of the points.
        share: matrix that shares what a point has with its neighbors.
        owed: mm3.
        gain: mm3 per line that a point slides.
    """
    length = np.linalg.norm(lines.step, axis=1)
    area = gain / length
    for _ in range(_REACH):
        owed, area = share @ owed, share @ area
    return np.asarray(owed / np.maximum(area, 1e-9 * area.max()) / length)


def _filled(lines: Lines, place: Float[ndarray, " n"]) -> Float[ndarray, " n"]:
    """Return the places with which each part has its volume.

    The share of each line that is inside is multiplied by one factor per part, and that outside is left: a point can
    reach neither end.
    """
    count = len(lines.volumes)
    # Close to the part, products of coordinates keep their digits.
    sums = np.stack([np.bincount(lines.part, lines.start[:, k], count) for k in range(3)], axis=1)
    middle = (sums / np.bincount(lines.part, minlength=count)[:, None])[lines.part]
    low, high = np.full(count, -_WIDEST), np.full(count, _WIDEST)
    for _ in range(_HALVINGS):
        factor = (low + high) / 2
        inside = place * np.exp(factor)[lines.part]
        moved = inside / (inside + 1 - place)
        # The divergence theorem, by the points of each triangle.
        products = (lines.normals(moved) * (lines.points(moved) - middle)).sum(axis=1)
        volume = np.bincount(lines.part, products, count) / 3
        small = volume < lines.volumes
        low, high = np.where(small, factor, low), np.where(small, high, factor)
    return np.asarray(moved)
