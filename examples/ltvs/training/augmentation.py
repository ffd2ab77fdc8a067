"""Random variation of patches: rotation about the body axis, and livers as inaccurate as those that stage 1 finds.

Stage 2 is trained on true livers and used on those that stage 1 finds. Unless its liver masks vary, it never sees the
fat, lung and stomach that a found liver includes at its rim, and takes them for tumors.
"""

import math
from typing import cast

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from numpy import ndarray
from scipy.ndimage import gaussian_filter
from torch import Tensor
from torch.nn import functional as F

#: Distance over which the surface moves in the same direction, mm.
_PATCHINESS = 40.0


def jitter_region(
    region: Bool[ndarray, "d h w"], spacing: tuple[float, float, float], reach: float, rng: np.random.Generator
) -> Bool[ndarray, "d h w"]:
    """Move the surface of `region` at random by up to `reach` to either side, differently every few centimeters.

    Blurred by a Gaussian of width s, a flat surface is at 1/2, and the level P(z) of the normal distribution lies s z
    beside it: the mask is blurred with s = reach and thresholded at a level that varies with z in -1..1.

    Args:
        region: (d, h, w).
        spacing: mm along d, h, w.
        reach: mm; 0 leaves the region as it is.
        rng: source of the randomness.
    """
    if reach == 0:
        return region
    widths = [reach / mm for mm in spacing]
    # A mask blurred over four voxels has no detail of two: every second voxel is enough, with linear interpolation.
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


def rotate_patch(
    image: Float[Tensor, "d h w"], target: UInt8[Tensor, "d h w"], angle: float
) -> tuple[Float[Tensor, "d h w"], UInt8[Tensor, "d h w"]]:
    """Rotate a patch about the body axis, every slice by the same angle about its middle; fill in 0 from outside.

    Slices are the channels of one flat picture, so that the sampling grid is computed once for all of them. The image
    is interpolated linearly; each class is that of the nearest pixel.

    Args:
        image: as `network_input` makes it.
        target: class of each voxel.
        angle: in radians; 0 leaves both as they are.
    """
    if angle == 0:
        return image, target
    h, w = image.shape[1:]
    cos, sin = math.cos(angle), math.sin(angle)
    # Coordinates run from -1 to 1 along either axis, whatever its length.
    rotation = torch.tensor([[[cos, sin * h / w, 0.0], [-sin * w / h, cos, 0.0]]])
    where = F.affine_grid(rotation, [1, 1, h, w], align_corners=False)
    moved = F.grid_sample(image[None], where, mode="bilinear", align_corners=False)[0]
    nearest = F.grid_sample(target[None].float(), where, mode="nearest", align_corners=False)[0]
    return moved, nearest.to(torch.uint8)
