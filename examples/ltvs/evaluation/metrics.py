"""Metrics of a predicted mask against a reference: Dice, IoU, 95% Hausdorff distance, clDice.

    Dice   = 2 |P ∩ R| / (|P| + |R|)
    IoU    = |P ∩ R| / |P ∪ R|
    HD95   = max(q95 of d(p, ∂R) over p in ∂P, q95 of d(r, ∂P) over r in ∂R), mm
    clDice = 2 a b / (a + b) with a = |S(P) ∩ R| / |S(P)|, b = |S(R) ∩ P| / |S(R)|, S the skeleton

All are symmetric. None means that there is no value: nothing to compare, or no surface to measure a distance to.
"""

import warnings

import numpy as np
from jaxtyping import Bool
from numpy import ndarray
from scipy import ndimage
from skimage.morphology import skeletonize

Mask = Bool[ndarray, "d h w"]


def dice(prediction: Mask, reference: Mask) -> float | None:
    """Return the Dice coefficient.

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
    """Return the intersection over union, the Jaccard index; arguments, returns and errors as for `dice`."""
    _check("iou", prediction, reference)
    union = np.count_nonzero(prediction | reference)
    return float(np.count_nonzero(prediction & reference) / union) if union else None


def hd95(prediction: Mask, reference: Mask, spacing: tuple[float, float, float]) -> float | None:
    """Return the larger 95th percentile of the distances between surface voxels in both directions.

    Distances are between centers. A surface voxel has a face that touches the outside of the mask; beyond the volume is
    outside.

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
    # MONAI makes float copies of its input: a CT has many times the voxels of the box around both masks.
    (box,) = ndimage.find_objects((prediction | reference).view(np.uint8))
    from monai.metrics import compute_hausdorff_distance

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=FutureWarning)  # MONAI 1.6 calls its own deprecated argument
        distance = compute_hausdorff_distance(
            prediction[None, None, *box], reference[None, None, *box], include_background=True,
            percentile=95, spacing=spacing,
        )  # fmt: skip
    return float(distance)


def cldice(prediction: Mask, reference: Mask) -> float | None:
    """Return the centerline Dice of tubes (Shit et al., CVPR 2021): the share of each skeleton in the other mask.

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
    """Return the share of the skeleton of `mask` that lies in `other`, 0 to 1."""
    (box,) = ndimage.find_objects(mask.view(np.uint8))
    centerlines = skeleton(mask[box])
    return float(np.count_nonzero(centerlines & other[box]) / np.count_nonzero(centerlines))


def skeleton(mask: Mask) -> Mask:
    """Return centerlines one voxel wide, with at least one voxel in every connected component of the mask."""
    centerlines: Mask = skeletonize(mask)
    # scikit-image erases some components of even width, such as a cube of 2 voxels (its issue 3757); fragments of a
    # vessel tree are often that small. Such a component keeps its innermost voxel.
    components, count = ndimage.label(mask, np.ones((3, 3, 3)))
    erased = np.setdiff1d(np.arange(1, count + 1), components[centerlines])
    if erased.size:
        depth = ndimage.distance_transform_cdt(np.pad(mask, 1), "chessboard")[1:-1, 1:-1, 1:-1]
        centerlines[tuple(np.transpose(ndimage.maximum_position(depth, components, erased)))] = True
    return centerlines


def _check(name: str, prediction: Mask, reference: Mask) -> None:
    """Raise ValueError unless both are boolean masks of one shape."""
    if prediction.shape != reference.shape or prediction.dtype != bool or reference.dtype != bool:
        got = " and ".join(f"{mask.dtype} {mask.shape}" for mask in (prediction, reference))
        raise ValueError(f"{name}: expected two boolean masks of one shape; got {got}; compare labels first")
