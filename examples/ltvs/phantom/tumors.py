"""Tumors: one to five, of varied size, irregular, dark in the middle, partly as bright as liver or vessels."""

import numpy as np
from numpy import ndarray

from ltvs.phantom.canvas import Canvas, Level, waves
from ltvs.phantom.lesions import FreePlaces, Lesion, lump


def make_tumors(places: FreePlaces, tissue: Level, scale: float, rng: np.random.Generator) -> list[Lesion]:
    """Return one to five tumors in a liver; fewer where there is no room.

    Args:
        places: where they may lie.
        tissue: HU of the liver around them.
        scale: size of the organs; 1 is average.
        rng: decides number, places, sizes and looks.
    """
    tumors = []
    for number in range(int(rng.choice([1, 2, 3, 4, 5], p=[0.3, 0.25, 0.2, 0.15, 0.1]))):
        # The first is never tiny: a patient of this kind has a tumor that was seen.
        smallest, largest = (16, 28) if number == 0 else (4.5, 22)
        radius = scale * float(np.exp(rng.uniform(np.log(smallest), np.log(largest))))
        # Every third lies close enough to the surface to touch it.
        depth = rng.uniform(0.75, 0.95) * radius if rng.random() < 0.33 else 1.15 * radius
        center = places.take(radius, depth, rng)
        if center is not None:
            tumors.append(_make_tumor(places.canvas, center, radius, tissue, rng))
    return tumors


def _make_tumor(canvas: Canvas, center: ndarray, radius: float, tissue: Level, rng: np.random.Generator) -> Lesion:
    region = lump(canvas, center, radius, 0.09, rng)
    x, y, z = canvas.coordinates(region.box)
    level = region.level
    hu = waves(rng, 9, max(5.0, 0.5 * radius))(x, y, z)
    if radius > 9 and rng.random() < 0.8:  # necrosis in the middle
        core = level - rng.uniform(0.25, 0.5) * radius + waves(rng, 0.15 * radius, radius)(x, y, z)
        hu = hu - rng.uniform(8, 20) * np.clip(core / 3 + 0.5, 0, 1)
    rim = np.exp(-(((level - 1.5) / rng.uniform(1.2, 2.6)) ** 2))
    hu = hu + rng.uniform(15, 40) * rim
    if rng.random() < 0.75:  # nodules that take up contrast, or calcium
        nodules = waves(rng, 1.0, max(7.0, 0.55 * radius), 9)(x, y, z) - rng.uniform(0.9, 1.4)
        hu = hu + rng.uniform(50, 140) * np.clip(2 * nodules, 0, 1)
    # Whatever it is made of, its mean is as much darker than the liver around it as that of real ones.
    around = float(tissue(*(np.reshape(c, (1, 1, 1)) for c in center)).item())
    inside = hu[level > 0]
    return Lesion(region, hu + around - rng.uniform(18, 25) - (inside.mean() if inside.size else 0))
