"""Tumor mimics: benign lesions that a threshold takes for tumors or vessels."""

import numpy as np

from ltvs.phantom.canvas import waves
from ltvs.phantom.lesions import FreePlaces, Lesion, lump


def make_mimics(places: FreePlaces, blood: float, scale: float, rng: np.random.Generator) -> list[Lesion]:
    """Return cysts, much darker than a tumor, and hemangiomas and perfusion nodules, about as bright as vessels.

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
        region = lump(places.canvas, center, radius, 0.07 if bright else 0.02, rng)
        mean = blood - rng.uniform(-4, 14) if bright else rng.uniform(2, 20)
        noise = waves(rng, 5 if bright else 1, 9)
        mimics.append(Lesion(region, mean + noise(*places.canvas.coordinates(region.box))))
    return mimics
