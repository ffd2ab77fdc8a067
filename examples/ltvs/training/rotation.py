"""Turning a patch about the body axis: every slice by the same angle, image and classes together."""

import math

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional as F


def turned(
    image: Float[Tensor, "d h w"], target: UInt8[Tensor, "d h w"], angle: float
) -> tuple[Float[Tensor, "d h w"], UInt8[Tensor, "d h w"]]:
    """Image and classes turned about the middle of the slices; what comes in from outside the patch is 0.

    Slices are the channels of one flat picture, so that the way to each pixel is worked out once for all of them. The
    image is interpolated linearly, classes are those of the nearest pixel.

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
    turn = torch.tensor([[[cos, sin * h / w, 0.0], [-sin * w / h, cos, 0.0]]])
    where = F.affine_grid(turn, [1, 1, h, w], align_corners=False)
    moved = F.grid_sample(image[None], where, mode="bilinear", align_corners=False)[0]
    nearest = F.grid_sample(target[None].float(), where, mode="nearest", align_corners=False)[0]
    return moved, nearest.to(torch.uint8)
