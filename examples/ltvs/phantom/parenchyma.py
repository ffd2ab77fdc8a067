"""What makes thresholds fail in a liver: uneven fat and perfusion, and lesions that are no tumors."""

import numpy as np
from numpy import ndarray

from ltvs.phantom.lesions import Lesion, Places, lump
from ltvs.phantom.space import Level, Region, Space, waves


def uneven(space: Space, liver: Region, liver_hu: float, scale: float, rng: np.random.Generator) -> Level:
    """HU of the liver's tissue, on average about `liver_hu`.

    Fat is laid down in some areas and spared in others, a third of the liver each, with soft borders that vessels cross
    undisturbed; within them the tissue is uneven by about 6 HU, as measured in a real liver behind a filter of 6 mm.

    Args:
        space: what the liver is painted in.
        liver: mm to its surface, positive inside.
        liver_hu: HU where neither is so.
        scale: size of the organs; 1 is average.
        rng: decides where.
    """
    fine, coarse = waves(rng, 3.5, 16), waves(rng, 3.5, 34 * scale)
    areas = waves(rng, 1.0, 105 * scale, 5)
    fatty, spared = rng.uniform(4, 12), rng.uniform(19, 32)
    sample = areas(*space.coordinates(liver.box))[liver.level > 0]
    middle, spread = np.median(sample), sample.std()

    def hu(x: ndarray, y: ndarray, z: ndarray) -> ndarray:
        area = (areas(x, y, z) - middle) / spread
        change = spared * _ramp((-area - 0.3) / 0.8) - fatty * _ramp((area - 0.3) / 0.8)
        return np.asarray(liver_hu + change + fine(x, y, z) + coarse(x, y, z))

    return hu


def _ramp(t: ndarray) -> ndarray:
    t = np.clip(t, 0, 1)
    return np.asarray(t * t * (3 - 2 * t))


def make_mimics(places: Places, blood: float, scale: float, rng: np.random.Generator) -> list[Lesion]:
    """Cysts, much darker than a tumor, and hemangiomas and nodules of perfusion, about as bright as vessels.

    Args:
        places: where they may lie.
        blood: HU of vessels.
        scale: size of the organs; 1 is average.
        rng: decides number, places, sizes and looks.
    """
    mimics = []
    kinds = [False] * int(rng.integers(8, 14)) + [True] * int(rng.integers(5, 9))
    for bright in kinds:
        radius = scale * float(np.exp(rng.uniform(np.log(4), np.log(17))))
        center = places.take(radius, 0.7 * radius, rng)
        if center is None:
            continue
        region = lump(places.space, center, radius, 0.07 if bright else 0.02, rng)
        x, y, z = places.space.coordinates(region.box)
        mean = blood - rng.uniform(-4, 14) if bright else rng.uniform(2, 20)
        mimics.append(Lesion(region, mean + waves(rng, 5 if bright else 1, 9)(x, y, z)))
    return mimics
