"""What lies in the liver besides vessels: a place that is free, and an irregular lump there."""

from dataclasses import dataclass

import numpy as np
from numpy import ndarray

from ltvs.phantom.space import Region, Space, waves


@dataclass(frozen=True)
class Lesion:
    """Where a lesion lies and what it looks like.

    Args:
        region: mm to its surface, positive inside.
        hu: of each voxel of the region's box, were it all lesion.
    """

    region: Region
    hu: ndarray


@dataclass
class Places:
    """Places in a liver that are still free.

    Args:
        space: what the liver is painted in.
        liver: mm to its surface, positive inside.
        taken: middle, (x, y, z) in mm, and radius in mm of what lies there.
    """

    space: Space
    liver: Region
    taken: list[tuple[ndarray, float]]

    def take(self, radius: float, depth: float, rng: np.random.Generator) -> ndarray | None:
        """A free middle at least `depth` mm below the surface, which is taken from now on; None where there is none."""
        candidates = np.argwhere(self.liver.level > depth)
        if len(candidates) == 0:
            return None
        z, y, x = self.liver.box
        for k, j, i in candidates[rng.integers(len(candidates), size=20)]:
            center = np.array([self.space.x[x][i], self.space.y[y][j], self.space.z[z][k]])
            if all(np.linalg.norm(center - other) > radius + size + 4 for other, size in self.taken):
                self.taken.append((center, radius))
                return center
        return None


def lump(space: Space, center: ndarray, radius: float, lobes: float, rng: np.random.Generator) -> Region:
    """An irregular ball whose surface goes in and out by about `lobes` times its radius (mm)."""
    stretch = rng.uniform(0.82, 1.18, 3)
    surface = waves(rng, lobes * radius, 1.5 * radius)

    def shape(x: ndarray, y: ndarray, z: ndarray) -> ndarray:
        u, v, w = ((c - o) * k for c, o, k in zip((x, y, z), center, stretch, strict=True))
        return np.asarray(radius - np.sqrt(u**2 + v**2 + w**2) + surface(x, y, z))

    reach = 1.6 * radius + 4
    return space.region(shape, center - reach, center + reach)
