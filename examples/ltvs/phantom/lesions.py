"""Lesions in a phantom's liver: where there is room for one, and its irregular shape."""

from dataclasses import dataclass

import numpy as np
from numpy import ndarray

from ltvs.phantom.canvas import Canvas, Region, waves


@dataclass(frozen=True)
class Lesion:
    """Shape and look of a lesion.

    Args:
        region: mm to its surface, positive inside.
        hu: of each voxel of the region's box, were it all lesion.
    """

    region: Region
    hu: ndarray


@dataclass
class FreePlaces:
    """Places in a liver that are still free.

    Args:
        canvas: the liver is painted on it.
        liver: mm to its surface, positive inside.
        taken: center, (x, y, z) in mm, and radius in mm of each place taken.
    """

    canvas: Canvas
    liver: Region
    taken: list[tuple[ndarray, float]]

    def take(self, radius: float, depth: float, rng: np.random.Generator) -> ndarray | None:
        """Take a free center at least `depth` mm below the surface and return it; None if there is none."""
        candidates = np.argwhere(self.liver.level > depth)
        if len(candidates) == 0:
            return None
        z, y, x = self.liver.box
        for k, j, i in candidates[rng.integers(len(candidates), size=20)]:
            center = np.array([self.canvas.x[x][i], self.canvas.y[y][j], self.canvas.z[z][k]])
            if all(np.linalg.norm(center - other) > radius + size + 4 for other, size in self.taken):
                self.taken.append((center, radius))
                return center
        return None


def lump(canvas: Canvas, center: ndarray, radius: float, lobes: float, rng: np.random.Generator) -> Region:
    """Return an irregular ball whose surface goes in and out by about `lobes` times its radius (mm)."""
    stretch = rng.uniform(0.82, 1.18, 3)
    surface = waves(rng, lobes * radius, 1.5 * radius)

    def shape(x: ndarray, y: ndarray, z: ndarray) -> ndarray:
        u, v, w = ((c - o) * k for c, o, k in zip((x, y, z), center, stretch, strict=True))
        return np.asarray(radius - np.sqrt(u**2 + v**2 + w**2) + surface(x, y, z))

    reach = 1.6 * radius + 4
    return canvas.region(shape, center - reach, center + reach)
