"""Tumours: one to five, of varied size, irregular, with a rim and an uneven middle, some at the surface."""

from dataclasses import dataclass

import numpy as np
from numpy import ndarray

from ltvs.phantom.space import Box, Space, waves


@dataclass(frozen=True)
class Tumor:
    """Where a tumour lies and what it looks like.

    Args:
        box, level: mm to its surface over a box, positive inside.
        hu: of each voxel of the box, were it all tumour.
    """

    box: Box
    level: ndarray
    hu: ndarray


def make_tumors(
    space: Space, box: Box, liver: ndarray, liver_hu: float, scale: float, rng: np.random.Generator
) -> list[Tumor]:
    """Tumours in a liver.

    Args:
        space: what they are painted in.
        box, liver: mm to the liver's surface over a box, positive inside.
        liver_hu: HU of the liver around them.
        scale: size of the organs; 1 is average.
        rng: decides number, places, sizes and looks.
    """
    tumors: list[Tumor] = []
    centers: list[tuple[ndarray, float]] = []
    for number in range(int(rng.choice([1, 2, 3, 4, 5], p=[0.3, 0.25, 0.2, 0.15, 0.1]))):
        # The first is never tiny: a patient of this kind has a tumour that was seen.
        radius = scale * float(
            np.exp(rng.uniform(np.log(11 if number == 0 else 4.5), np.log(32 if number == 0 else 22)))
        )
        center = _place(space, box, liver, radius, centers, rng)
        if center is None:
            continue
        centers.append((center, radius))
        tumors.append(_make(space, center, radius, liver_hu, rng))
    return tumors


def _place(
    space: Space, box: Box, liver: ndarray, radius: float, taken: list[tuple[ndarray, float]], rng: np.random.Generator
) -> ndarray | None:
    """A middle inside the liver, every third close enough to its surface to touch it; None where nothing is free."""
    depth = rng.uniform(0.75, 0.95) * radius if rng.random() < 0.33 else 1.15 * radius
    candidates = np.argwhere(liver > depth)
    if len(candidates) == 0:
        return None
    x, y, z = space.x[box[2]], space.y[box[1]], space.z[box[0]]
    for row in candidates[rng.integers(len(candidates), size=20)]:
        center = np.array([x[row[2]], y[row[1]], z[row[0]]])
        if all(np.linalg.norm(center - other) > radius + size + 4 for other, size in taken):
            return center
    return None


def _make(space: Space, center: ndarray, radius: float, liver_hu: float, rng: np.random.Generator) -> Tumor:
    stretch = rng.uniform(0.82, 1.18, 3)
    lobes = waves(rng, 0.09 * radius, 1.5 * radius)

    def shape(x: ndarray, y: ndarray, z: ndarray) -> ndarray:
        scaled = [(c - o) * k for c, o, k in zip((x, y, z), center, stretch, strict=True)]
        return radius - np.sqrt(scaled[0] ** 2 + scaled[1] ** 2 + scaled[2] ** 2) + lobes(x, y, z)

    reach = 1.6 * radius + 4
    box, level = space.level(shape, center - reach, center + reach)
    x, y, z = space.coordinates(box)
    hu = liver_hu - rng.uniform(18, 42) + waves(rng, 7, max(5.0, 0.5 * radius))(x, y, z)
    if radius > 12 and rng.random() < 0.7:  # necrosis in the middle
        core = level - rng.uniform(0.3, 0.55) * radius + waves(rng, 0.12 * radius, radius)(x, y, z)
        hu = hu - rng.uniform(14, 34) * np.clip(core / 3 + 0.5, 0, 1)
    rim = np.exp(-(((level - 1.5) / rng.uniform(1.2, 2.2)) ** 2))
    return Tumor(box, level, hu + rng.uniform(-6, 22) * rim)
