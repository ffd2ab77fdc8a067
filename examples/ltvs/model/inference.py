"""Patch inference: class probabilities of a whole volume from overlapping patches."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import product
from typing import cast

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy import ndarray
from torch import nn

from crossattn3d.regional import RegionalNet, is_regional
from ltvs.model.computing import Precision, computing_in

Triple = tuple[int, int, int]
Box = tuple[slice, slice, slice]

WHOLE: Box = (slice(None), slice(None), slice(None))
#: Axes of a patch to mirror for each of its mirror images; the first is the patch as it is.
_MIRRORED = [tuple(axis for axis in range(3) if flips[axis]) for flips in product((False, True), repeat=3)]


def predict_probabilities(
    net: nn.Module,
    image: Float[ndarray, "d h w"],
    patch: Triple,
    overlap: Triple,
    device: torch.device,
    precision: Precision = "32",
    *,
    wanted: Bool[ndarray, "d h w"] | None = None,
    mirror: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Float[ndarray, "k d h w"]:
    """Return the softmax of the logits, averaged where patches overlap; patches lie as in training.

    Args:
        net: in eval mode, on `device`.
        image: (d, h, w), as `stages.network_input` makes it; volumes smaller than a patch are padded with background.
        patch: (d, h, w) voxels.
        overlap: (d, h, w) voxels shared by neighboring patches.
        device: where the patches are computed; the volume itself stays in main memory.
        precision: of the layers.
        wanted: where probabilities are needed, (d, h, w); everywhere if None. Elsewhere, what would have to be computed
            for it alone is not, and class 0 gets the probability.
        mirror: whether to average over the eight mirror images of each patch.
        progress: called as progress(done, in_all) when patches are done.

    Returns:
        (classes, d, h, w), float32, with a sum of 1 over the classes.
    """
    missing = [max(0, p - n) for n, p in zip(image.shape, patch, strict=True)]
    around = [(n // 2, n - n // 2) for n in missing]
    inner = [slice(before, before + n) for (before, _), n in zip(around, image.shape, strict=True)]
    needed = np.ones(image.shape, dtype=bool) if wanted is None else wanted
    if any(missing):
        image, needed = np.pad(image, around), np.pad(needed, around)
    starts = [patch_starts(*sizes) for sizes in zip(image.shape, patch, overlap, strict=True)]
    boxes = [_box(at, patch) for at in product(*starts)]
    # On CPU, PyTorch leaves the convolutions of one small float32 volume to slow code of its own, of two to oneDNN.
    # On others, tiles are too small to be worth a call each.
    regional = RegionalNet(net) if device.type == "cpu" and is_regional(net) else None
    at_once = 2 if device.type == "cpu" and regional is None else 1
    images = _MIRRORED if mirror else _MIRRORED[:1]
    summed: Float[ndarray, "k d h w"] | None = None
    for first in range(0, len(boxes), at_once):
        group = [box for box in boxes[first : first + at_once] if needed[box].any()]
        for axes in images if group else ():
            xs = torch.stack([_mirrored(image[box], axes)[None] for box in group]).to(device)
            answers: Iterable[tuple[int, Box, Float[ndarray, "k _ _ _"]]]
            if regional is None:
                answers = _all_probabilities(net, xs, precision)
            else:
                answers = _some_probabilities(regional, xs, np.flip(needed[group[0]], axes), precision)
            for number, place, found in answers:
                if summed is None:
                    # Class 0 is what is left at the end: until then, it takes no memory.
                    summed = np.zeros((len(found), *image.shape), dtype=np.float32)
                # A view, as the patch was seen.
                of_patch = np.flip(summed[:, *group[number]], tuple(axis + 1 for axis in axes))
                of_patch[1:, *place] += found[1:]
        if progress is not None:
            progress(min(first + at_once, len(boxes)), len(boxes))
    if summed is None:
        summed = np.zeros((cast("int", net.out_channels), *image.shape), dtype=np.float32)
    del regional
    counts = [_counts(*sizes) for sizes in zip(image.shape, patch, starts, strict=True)]
    _average(summed, counts, len(images))
    return summed[:, *inner]


def patch_starts(size: int, patch: int, overlap: int) -> list[int]:
    """Return the first voxel of each patch along an axis, at least as long as a patch; the last is moved back to fit.

    Examples:
        >>> patch_starts(70, 32, 16)
        [0, 16, 32, 38]
    """
    steps = math.ceil(max(0, size - patch) / max(1, patch - overlap))
    return [min(i * (patch - overlap), size - patch) for i in range(steps + 1)]


def count_patches(size: Sequence[int], patch: Triple, overlap: Triple) -> int:
    """Return how many patches a volume of a size, (d, h, w) voxels, has."""
    return math.prod(len(patch_starts(max(n, p), p, o)) for n, p, o in zip(size, patch, overlap, strict=True))


def _box(start: Sequence[int], patch: Triple) -> Box:
    d, h, w = (slice(first, first + n) for first, n in zip(start, patch, strict=True))
    return d, h, w


def _counts(size: int, patch: int, starts: list[int]) -> Float[ndarray, " n"]:
    """Return how many patches hold each voxel along an axis."""
    counts = np.zeros(size, dtype=np.float32)
    for start in starts:
        counts[start : start + patch] += 1
    return counts


def _average(summed: Float[ndarray, "k d h w"], counts: Sequence[Float[ndarray, " n"]], images: int) -> None:
    """Divide sums by how many patches and mirror images each voxel has, in place; class 0 gets what is left.

    Slice by slice, so that no map of the counts exists.
    """
    of_depth, of_height, of_width = counts
    in_plane = images * of_height[:, None] * of_width
    for i, count in enumerate(of_depth):
        plane = summed[:, i]
        plane[1:] /= count * in_plane
        plane[0] = 1 - plane[1:].sum(axis=0)


def _mirrored(image: Float[ndarray, "d h w"], axes: tuple[int, ...]) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(np.flip(image, axes)))


@torch.inference_mode()
def _all_probabilities(
    net: nn.Module, xs: torch.Tensor, precision: Precision
) -> list[tuple[int, Box, Float[ndarray, "k d h w"]]]:
    """Return the probabilities of all voxels, after the number of their patch and where in it they are."""
    with computing_in(precision, xs.device):
        logits: torch.Tensor = net(xs.to(memory_format=torch.channels_last_3d))
    probabilities = logits.float().softmax(dim=1).cpu().numpy()
    return [(number, WHOLE, found) for number, found in enumerate(probabilities)]


def _some_probabilities(
    net: RegionalNet, x: torch.Tensor, wanted: Bool[ndarray, "d h w"], precision: Precision
) -> Iterator[tuple[int, Box, Float[ndarray, "k _ _ _"]]]:
    """Yield the probabilities of boxes that hold all that is wanted, likewise."""
    with computing_in(precision, x.device):
        for box, logits in net(x, wanted):
            yield 0, box, logits[0].float().softmax(dim=0).numpy()
