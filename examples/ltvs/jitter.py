"""A liver mask as a network would have found it: the true one, with its surface moved in and out at random.

Stage 2 is trained on true livers and used on those that stage 1 finds. Without this it has never seen the fat, the
lung and the stomach that a found liver has at its rim, and takes them for tumours.
"""

from typing import cast

import numpy as np
import torch
from jaxtyping import Bool
from numpy import ndarray
from scipy.ndimage import gaussian_filter
from scipy.stats import norm

#: Distance over which the surface moves as one, mm.
_PATCHINESS = 40.0


def jitter_region(
    region: Bool[ndarray, "d h w"], spacing: tuple[float, float, float], reach: float, rng: np.random.Generator
) -> Bool[ndarray, "d h w"]:
    """Move the surface of `region` by up to `reach` to either side, a different way every few centimetres.

    Blurred by a Gaussian of width s, a flat surface is at 1/2, and the level P(z) of the normal distribution lies s z
    beside it: the mask is blurred with s = reach and cut at a level that varies with z in -1..1.

    Args:
        region: (d, h, w).
        spacing: mm along d, h, w.
        reach: mm; 0 leaves the region as it is.
        rng: decides how.
    """
    if reach == 0:
        return region
    blurred = gaussian_filter(region.astype(np.float32), [reach / mm for mm in spacing], mode="nearest", truncate=2.5)
    knots = [max(2, round(n * mm / _PATCHINESS) + 1) for n, mm in zip(region.shape, spacing, strict=True)]
    coarse = torch.from_numpy(rng.uniform(-1, 1, (1, 1, *knots)))
    shift = torch.nn.functional.interpolate(coarse, size=region.shape, mode="trilinear", align_corners=True)
    return cast("ndarray", blurred > norm.cdf(shift[0, 0].numpy()))
