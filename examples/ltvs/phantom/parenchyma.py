"""The liver's parenchyma: uneven fat and perfusion, which make thresholds fail."""

import numpy as np
from numpy import ndarray

from ltvs.phantom.canvas import Canvas, Level, Region, waves


def uneven_parenchyma(canvas: Canvas, liver: Region, liver_hu: float, scale: float, rng: np.random.Generator) -> Level:
    """Return the HU of the liver's tissue as a function of place, on average about `liver_hu`.

    A third of the liver has more fat, a third less, with soft borders that vessels cross undisturbed; within these
    areas the tissue is uneven by about 6 HU, as measured in a real liver behind a filter of 6 mm.

    Args:
        canvas: the liver is painted on it.
        liver: mm to its surface, positive inside.
        liver_hu: HU where fat is neither more nor less.
        scale: size of the organs; 1 is average.
        rng: decides where.
    """
    fine, coarse = waves(rng, 3.5, 16), waves(rng, 3.5, 34 * scale)
    areas = waves(rng, 1.0, 105 * scale, 5)
    fatty, spared = rng.uniform(4, 12), rng.uniform(19, 32)
    sample = areas(*canvas.coordinates(liver.box))[liver.level > 0]
    middle, spread = np.median(sample), sample.std()

    def hu(x: ndarray, y: ndarray, z: ndarray) -> ndarray:
        area = (areas(x, y, z) - middle) / spread
        change = spared * _ramp((-area - 0.3) / 0.8) - fatty * _ramp((area - 0.3) / 0.8)
        return np.asarray(liver_hu + change + fine(x, y, z) + coarse(x, y, z))

    return hu


def _ramp(t: ndarray) -> ndarray:
    """Rise smoothly from 0 to 1 as `t` does."""
    t = np.clip(t, 0, 1)
    return np.asarray(t * t * (3 - 2 * t))
