"""Random variation of patches: rotation about the body axis, and livers as inaccurate as those that stage 1 finds.

Stage 2 is trained on true livers and used on those that stage 1 finds. Unless its liver masks vary, it never sees the
fat, lung and stomach that a found liver includes at its rim, and takes them for tumors.

If asked for (`--augment`), other bodies and other scanners as well: `draw_sources` and `deform` change scale and shape
of a CT and its labels, `change_intensities` contrast, sharpness, resolution and noise of the CT. MONAI's transforms of
these kinds count in voxels and in the range of a patch; these count in mm and HU, and interpolate once for all.
"""

import math
from typing import cast

import numpy as np
import torch
from jaxtyping import Bool, Float, Int16, UInt8
from numpy import ndarray
from scipy.ndimage import gaussian_filter, gaussian_filter1d
from torch import Tensor
from torch.nn import functional as F

#: Distance over which the surface moves in the same direction, mm.
_PATCHINESS = 40.0

#: Share of the patches that `--augment` deforms.
DEFORMED = 0.5
#: Shares of the patches in which it makes each change of intensity.
_CONTRAST, _BLUR, _THICK, _COARSE, _NOISE = 0.5, 0.3, 0.3, 0.3, 0.4
#: Ranges of what is drawn, evenly; of factors the logarithm.
_SCALE = (0.8, 1.2)
_KNOT_DISTANCE, _REACH = (30.0, 80.0), (4.0, 12.0)  # mm
_GAIN, _GAMMA, _BRIGHTNESS = (0.75, 1.35), (0.8, 1.25), (-20.0, 20.0)  # factor, exponent, HU
_WIDTH, _THICKNESS, _COARSENESS = (0.5, 1.5), (2.0, 6.0), (1.25, 2.0)  # mm, mm, factor
_DEVIATION = (0.0, 15.0)  # HU
#: Largest change of a displacement along an axis, mm per mm. Three of it are less than the smallest 1 / scale, so that
#: no part of a body is turned inside out.
_SLOPE = 0.25

Triple = tuple[int, int, int]
Spacing = tuple[float, float, float]
Box = tuple[slice, slice, slice]


def jitter_region(
    region: Bool[ndarray, "d h w"], spacing: Spacing, reach: float, rng: np.random.Generator
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


def draw_sources(
    patch: Triple, where: Box, spacing: Spacing, angle: float, rng: np.random.Generator
) -> Float[Tensor, "3 d h w"]:
    """Return where in a case each voxel of a patch comes from: turned, of another scale and bent at random.

    Args:
        patch: (d, h, w) voxels of the patch.
        where: place of the patch in the case, about whose middle it is turned; shorter where the case is.
        spacing: mm along d, h, w.
        angle: of the rotation about the body axis, radians.
        rng: source of the randomness.

    Returns:
        Places along d, h, w, voxels of the case.
    """
    scale = _factor(rng, _SCALE)
    bent = elastic_displacement(patch, spacing, rng.uniform(*_KNOT_DISTANCE), rng.uniform(*_REACH), rng)
    return affine_sources(patch, where, spacing, angle, scale).add_(bent)


def affine_sources(patch: Triple, where: Box, spacing: Spacing, angle: float, scale: float) -> Float[Tensor, "3 d h w"]:
    """Return where each voxel of a patch comes from that is turned by `angle` and enlarged by `scale`.

    Args and result are those of `draw_sources`.
    """
    # Lengths from the middle of what the case has of the patch, mm.
    z, y, x = (
        (torch.arange(n) - (place.stop - place.start - 1) / 2) * (mm / scale)
        for n, place, mm in zip(patch, where, spacing, strict=True)
    )
    cos, sin = math.cos(angle), math.sin(angle)
    turned = (z[:, None, None], cos * y[:, None] - sin * x, cos * x + sin * y[:, None])
    sources = torch.empty((3, *patch))
    for axis, (mm, place) in enumerate(zip(spacing, where, strict=True)):
        sources[axis] = turned[axis] / mm + (place.start + place.stop - 1) / 2
    return sources


def elastic_displacement(
    size: Triple, spacing: Spacing, distance: float, reach: float, rng: np.random.Generator
) -> Float[Tensor, "3 d h w"]:
    """Return a smooth random displacement of every voxel along d, h, w, in voxels.

    Random vectors every quarter of `distance` are blurred by half of it, like a spline through knots that lie as far
    apart, and scaled so that the longest of them along an axis is `reach`, or less where the slopes become too steep.

    Args:
        size: (d, h, w) voxels.
        spacing: mm along d, h, w.
        distance: over which displacements change, mm.
        reach: mm.
        rng: source of the randomness.
    """
    knots = [max(2, math.ceil(4 * n * mm / distance) + 1) for n, mm in zip(size, spacing, strict=True)]
    steps = [max(n - 1, 1) * mm / (knot - 1) for n, mm, knot in zip(size, spacing, knots, strict=True)]
    field = gaussian_filter(rng.standard_normal((3, *knots)), [0.0, *(distance / 2 / step for step in steps)])
    slope = max(float(np.abs(np.diff(field, axis=i + 1)).max()) / step for i, step in enumerate(steps))
    field *= min(reach / float(np.abs(field).max()), _SLOPE / max(slope, 1e-9))
    voxels = torch.from_numpy((field / np.reshape(spacing, (3, 1, 1, 1))).astype(np.float32))
    return F.interpolate(voxels[None], size=size, mode="trilinear", align_corners=True)[0]


def box_of(sources: Float[Tensor, "3 d h w"], size: Triple) -> Box:
    """Return the part of a case of this size that interpolation at `sources` needs, one voxel at least."""
    ranges = [(math.floor(axis.min()), math.floor(axis.max()) + 2) for axis in sources]
    starts = [min(max(0, low), n - 1) for (low, _), n in zip(ranges, size, strict=True)]
    d, h, w = (
        slice(start, max(min(high, n), start + 1)) for start, (_, high), n in zip(starts, ranges, size, strict=True)
    )
    return d, h, w


def is_inside(sources: Float[Tensor, "3 d h w"], size: Triple) -> Bool[Tensor, "d h w"]:
    """Return which sources lie in the voxels of a case of this size."""
    z, y, x = ((axis >= -0.5) & (axis <= n - 0.5) for axis, n in zip(sources, size, strict=True))
    inside: Tensor = z & y & x
    return inside


def deform(
    hu: Int16[ndarray, "a b c"], labels: UInt8[ndarray, "a b c"], sources: Float[Tensor, "3 d h w"], box: Box
) -> tuple[Int16[ndarray, "d h w"], UInt8[ndarray, "d h w"]]:
    """Return HU and labels of a patch, interpolated linearly; outside `box` they are those of its nearest voxel.

    Of the labels, the one with the largest share is taken, as in preparation; background where that is as large.

    Args:
        hu: of the part of the case in `box`.
        labels: of the same part.
        sources: of every voxel of the patch, voxels of the case.
        box: as `box_of` gives it.
    """
    present = [label for label, voxels in enumerate(np.bincount(labels.ravel())) if label and voxels]
    planes = torch.from_numpy(np.stack([hu, *(labels == label for label in present)]).astype(np.float32))
    # Coordinates run from -1 to 1 along every axis, x first.
    z, y, x = (
        axis.mul(2 / n).add_((1 - 2 * place.start) / n - 1)
        for axis, place, n in zip(sources, box, hu.shape, strict=True)
    )
    where = torch.stack((x, y, z), -1)
    moved = F.grid_sample(planes[None], where[None], mode="bilinear", padding_mode="border", align_corners=False)
    values, *shares = moved[0].numpy()
    best, taken = np.ones_like(values), np.zeros(values.shape, dtype=np.uint8)
    for share in shares:
        best -= share
    for label, share in zip(present, shares, strict=True):
        np.copyto(taken, np.uint8(label), where=share > best)
        np.maximum(best, share, out=best)
    return np.rint(values).astype(np.int16), taken


def change_intensities(
    hu: Int16[ndarray, "d h w"],
    spacing: Spacing,
    window: tuple[float, float],
    hu_offset: float | None,
    rng: np.random.Generator,
) -> Int16[ndarray, "d h w"]:
    """Change contrast, sharpness, resolution and noise of a CT at random, each in some of the patches.

    Args:
        hu: clipped to the window.
        spacing: mm along d, h, w.
        window: lowest and highest HU.
        hu_offset: HU that stay: the liver's median, for which `network_input` would undo a change of brightness. With
            None the middle of the window stays, but for a random brightness.
        rng: source of the randomness.
    """
    low, high = window
    changed = hu.astype(np.float32)
    if rng.random() < _CONTRAST:
        gain, gamma, brightness = _factor(rng, _GAIN), _factor(rng, _GAMMA), rng.uniform(*_BRIGHTNESS)
        stays, brightness = ((low + high) / 2, brightness) if hu_offset is None else (hu_offset, 0.0)
        changed = change_contrast(hu, window, stays, gain, gamma, brightness)
    if rng.random() < _BLUR:
        changed = blur_slices(changed, spacing, rng.uniform(*_WIDTH))
    thickness = rng.uniform(*_THICKNESS) if rng.random() < _THICK else spacing[0]
    pixel = _factor(rng, _COARSENESS) if rng.random() < _COARSE else 1.0
    changed = lower_resolution(changed, spacing, (thickness, pixel * spacing[1], pixel * spacing[2]))
    if rng.random() < _NOISE:
        changed = add_noise(changed, window, rng.uniform(*_DEVIATION), rng)
    rounded: ndarray = np.rint(changed).astype(np.int16)
    return rounded


def change_contrast(
    hu: Int16[ndarray, "d h w"],
    window: tuple[float, float],
    stays: float,
    gain: float,
    gamma: float,
    brightness: float,
) -> Float[ndarray, "d h w"]:
    """Return stays + brightness + gain r (p(hu)^gamma - p(stays)^gamma), with r = high - low and p(x) = (x - low) / r.

    HU at an end of the window stay there: they stand for air or bone that is far beyond it.

    Args:
        hu: clipped to the window.
        window: lowest and highest HU, to which the result is clipped.
        stays: HU that change by `brightness` alone.
        gain: factor of all contrasts.
        gamma: above 1, it raises the contrast of what is bright and lowers that of what is dark.
        brightness: HU.
    """
    low, high = window
    first = math.floor(low)
    levels = np.arange(first, math.ceil(high) + 1)
    position, at = np.clip((levels - low) / (high - low), 0, 1), (stays - low) / (high - low)
    curve = np.clip(brightness + stays + gain * (high - low) * (position**gamma - at**gamma), low, high)
    curve[levels <= low], curve[levels >= high] = low, high
    changed: Float[ndarray, "d h w"] = curve.astype(np.float32)[hu.astype(np.int32) - first]
    return changed


def blur_slices(hu: Float[ndarray, "d h w"], spacing: Spacing, width: float) -> Float[ndarray, "d h w"]:
    """Blur every slice by a Gaussian, as soft kernels of scanners do.

    Args:
        hu: (d, h, w).
        spacing: mm along d, h, w.
        width: standard deviation of the Gaussian, mm.
    """
    for axis in (1, 2):
        hu = gaussian_filter1d(hu, width / spacing[axis], axis=axis, mode="nearest")
    return hu


def lower_resolution(hu: Float[ndarray, "d h w"], spacing: Spacing, coarse: Spacing) -> Float[ndarray, "d h w"]:
    """Average over larger voxels, and interpolate linearly back; axes along which they are no larger stay.

    Args:
        hu: (d, h, w).
        spacing: mm along d, h, w.
        coarse: mm of the larger voxels along d, h, w; about, since a whole number of them fills an axis.
    """
    voxels = [min(n, max(1, round(n * mm / c))) for n, mm, c in zip(hu.shape, spacing, coarse, strict=True)]
    if voxels == list(hu.shape):
        return hu
    averaged = F.adaptive_avg_pool3d(torch.from_numpy(hu)[None, None], (voxels[0], voxels[1], voxels[2]))
    back = F.interpolate(averaged, size=hu.shape, mode="trilinear", align_corners=False)
    return back[0, 0].numpy()


def add_noise(
    hu: Float[ndarray, "d h w"], window: tuple[float, float], deviation: float, rng: np.random.Generator
) -> Float[ndarray, "d h w"]:
    """Add Gaussian noise inside the window; what is at its ends is far beyond, where the network sees no noise.

    Args:
        hu: clipped to the window.
        window: lowest and highest HU, to which the result is clipped.
        deviation: standard deviation, HU.
        rng: source of the randomness.
    """
    low, high = window
    noisy = np.clip(hu + np.float32(deviation) * rng.standard_normal(hu.shape, dtype=np.float32), low, high)
    return np.where((hu > low) & (hu < high), noisy, hu).astype(np.float32)


def _factor(rng: np.random.Generator, bounds: tuple[float, float]) -> float:
    """Return a factor whose logarithm is drawn evenly: by 1.2 times and by 1 / 1.2 alike often."""
    low, high = bounds
    return math.exp(rng.uniform(math.log(low), math.log(high)))
