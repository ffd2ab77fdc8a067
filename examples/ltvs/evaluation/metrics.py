"""How well a predicted mask agrees with the reference: Dice, IoU, 95% Hausdorff distance, clDice.

    Dice   = 2 |P ∩ R| / (|P| + |R|)
    IoU    = |P ∩ R| / |P ∪ R|
    HD95   = max(q95 of d(p, ∂R) over p in ∂P, q95 of d(r, ∂P) over r in ∂R), mm
    clDice = 2 a b / (a + b) with a = |S(P) ∩ R| / |S(P)|, b = |S(R) ∩ P| / |S(R)|, S the skeleton

Every one is symmetric. None stands for what has no value: nothing to compare, or no surface to measure a distance to.
"""

import warnings

import numpy as np
from jaxtyping import Bool
from monai.metrics import compute_hausdorff_distance
from numpy import ndarray
from scipy import ndimage
from skimage.morphology import skeletonize

Mask = Bool[ndarray, "d h w"]


def dice(prediction: Mask, reference: Mask) -> float | None:
    """Dice coefficient.

    Args:
        prediction: mask, (d, h, w).
        reference: mask, (d, h, w).

    Returns:
        0 to 1; 0 if one of them is empty, None if both are.

    Raises:
        ValueError: not two boolean masks of one shape.
    """
    _check("dice", prediction, reference)
    total = np.count_nonzero(prediction) + np.count_nonzero(reference)
    return float(2 * np.count_nonzero(prediction & reference) / total) if total else None


def iou(prediction: Mask, reference: Mask) -> float | None:
    """Intersection over union, the Jaccard index; arguments, returns and errors as for `dice`."""
    _check("iou", prediction, reference)
    union = np.count_nonzero(prediction | reference)
    return float(np.count_nonzero(prediction & reference) / union) if union else None


def hd95(prediction: Mask, reference: Mask, spacing: tuple[float, float, float]) -> float | None:
    """95% Hausdorff distance: the larger of the 95th percentiles of both directions, between centers of surface voxels.

    A surface voxel has a face that touches the outside of the mask; beyond the volume is outside.

    Args:
        prediction: mask, (d, h, w).
        reference: mask, (d, h, w).
        spacing: mm along d, h, w: slices first, the reverse of SimpleITK's order.

    Returns:
        mm, or None if one of them is empty.

    Raises:
        ValueError: not two boolean masks of one shape.
    """
    _check("hd95", prediction, reference)
    if not prediction.any() or not reference.any():
        return None
    # MONAI makes float copies of what it is given: a CT has many times the voxels of the box around both masks.
    (box,) = ndimage.find_objects((prediction | reference).view(np.uint8))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=FutureWarning)  # MONAI 1.6 calls its own deprecated argument
        distance = compute_hausdorff_distance(
            prediction[None, None, *box], reference[None, None, *box], include_background=True,
            percentile=95, spacing=spacing,
        )  # fmt: skip
    return float(distance)


def cldice(prediction: Mask, reference: Mask) -> float | None:
    """Centreline Dice of tubes (Shit et al., CVPR 2021): how much of each one's skeleton lies in the other.

    Arguments, returns and errors as for `dice`.
    """
    _check("cldice", prediction, reference)
    if not prediction.any() and not reference.any():
        return None
    if not prediction.any() or not reference.any():
        return 0.0
    precision = _skeleton_inside(prediction, reference)
    sensitivity = _skeleton_inside(reference, prediction)
    return 2 * precision * sensitivity / (precision + sensitivity) if precision + sensitivity else 0.0


def _skeleton_inside(mask: Mask, other: Mask) -> float:
    """The part of the skeleton of `mask` that lies in `other`, 0 to 1."""
    (box,) = ndimage.find_objects(mask.view(np.uint8))
    skeleton = _skeleton(mask[box])
    return float(np.count_nonzero(skeleton & other[box]) / np.count_nonzero(skeleton))


def _skeleton(mask: Mask) -> Mask:
    """Centrelines one voxel wide, with at least one voxel in every connected piece of the mask."""
    skeleton: Mask = skeletonize(mask)
    # scikit-image erases some pieces of even width altogether, a cube of 2 voxels for one (its issue 3757); the
    # fragments of a vessel tree are often so small. Such a piece keeps its innermost voxel.
    pieces, count = ndimage.label(mask, np.ones((3, 3, 3)))
    erased = np.setdiff1d(np.arange(1, count + 1), pieces[skeleton])
    if erased.size:
        depth = ndimage.distance_transform_cdt(np.pad(mask, 1), "chessboard")[1:-1, 1:-1, 1:-1]
        skeleton[tuple(np.transpose(ndimage.maximum_position(depth, pieces, erased)))] = True
    return skeleton


def _check(name: str, prediction: Mask, reference: Mask) -> None:
    if prediction.shape != reference.shape or prediction.dtype != bool or reference.dtype != bool:
        got = " and ".join(f"{mask.dtype} {mask.shape}" for mask in (prediction, reference))
        raise ValueError(f"{name}: expected two boolean masks of one shape; got {got}; compare labels first")
