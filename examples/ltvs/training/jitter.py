"""A liver mask as a network would have found it: the true one, with its surface moved in and out at random.

Stage 2 is trained on true livers and used on those that stage 1 finds. Without this it has never seen the fat, the
lung and the stomach that a found liver has at its rim, and takes them for tumors.
"""

import math
from typing import cast

import numpy as np
import torch
from jaxtyping import Bool
from numpy import ndarray
from scipy.ndimage import gaussian_filter
from torch.nn import functional as F

#: Distance over which the surface moves as one, mm.
_PATCHINESS = 40.0


def jitter_region(
    region: Bool[ndarray, "d h w"], spacing: tuple[float, float, float], reach: float, rng: np.random.Generator
) -> Bool[ndarray, "d h w"]:
    """Move the surface of `region` by up to `reach` to either side, a different way every few centimeters.

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
    widths = [reach / mm for mm in spacing]
    # A mask that is blurred over four voxels has no details of two: every second is enough, and lines between them.
    d, h, w = (math.ceil(n / 2) if s >= 4 else n for n, s in zip(region.shape, widths, strict=True))
    size = (d, h, w)
    coarse = F.adaptive_avg_pool3d(torch.from_numpy(region)[None, None].float(), size)[0, 0].numpy()
    scaled = [s * points / n for s, points, n in zip(widths, size, region.shape, strict=True)]
    blurred = gaussian_filter(coarse, scaled, mode="nearest", truncate=2.5)
    knots = [max(2, round(n * mm / _PATCHINESS) + 1) for n, mm in zip(region.shape, spacing, strict=True)]
    shift = torch.from_numpy(rng.uniform(-1, 1, (1, 1, *knots)).astype(np.float32))
    shift = F.interpolate(shift, size=size, mode="trilinear", align_corners=True)
    above = torch.from_numpy(blurred) - torch.special.ndtr(shift)
    return cast(
        "ndarray", F.interpolate(above, size=region.shape, mode="trilinear", align_corners=False)[0, 0].numpy() > 0
    )
