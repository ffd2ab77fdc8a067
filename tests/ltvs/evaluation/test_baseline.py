"""The threshold baseline: right on easy livers, lost on phantoms."""

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage

from ltvs.evaluation.baseline import threshold_labels
from ltvs.phantom.cohort import make_phantom
from ltvs.runtime.errors import InputError
from ltvs.volume.case import Case
from ltvs.volume.images import same_grid
from support.tiny_cases import OBLIQUE, SIGNED_PERMUTATIONS, grid, image, tiny_case


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


def easy(direction: np.ndarray = SIGNED_PERMUTATIONS[0]) -> tuple[sitk.Image, sitk.Image, np.ndarray]:
    """A clear liver with a thick vessel, a tumor, and a speck too small to be either; CT, liver, true labels."""
    where = grid(direction, size=(44, 40, 36))
    z, y, x = np.meshgrid(*(np.arange(n) - n // 2 for n in (36, 40, 44)), indexing="ij")
    liver = np.maximum(np.maximum(abs(x) / 19, abs(y) / 17), abs(z) / 15) <= 1
    vessel = liver & (np.hypot(y + 6, z) < 4)
    tumor = np.sqrt((x - 6) ** 2 + (y - 8) ** 2 + z**2) < 6.5
    truth = liver + vessel.astype(np.uint8) + 2 * tumor.astype(np.uint8)
    hu = np.choose(truth, (-100, 100, 150, 50)).astype(np.int16)
    hu[20, 20, 30] = 400
    return image(hu, where), image(liver.astype(np.uint8), where), truth


@pytest.mark.parametrize("direction", [SIGNED_PERMUTATIONS[0], SIGNED_PERMUTATIONS[29], OBLIQUE[1]])
def test_a_clear_liver_is_labeled_right(direction: np.ndarray) -> None:
    ct, liver, truth = easy(direction)
    found = threshold_labels(ct, liver)
    assert same_grid(found, ct)
    assert found.GetPixelID() == sitk.sitkUInt8
    labels = sitk.GetArrayFromImage(found)
    assert np.array_equal(labels > 0, truth > 0)
    # Smoothing moves surfaces by less than a voxel: what differs lies within one of them.
    differs = labels != truth
    surface = ndimage.grey_dilation(truth, size=3) != ndimage.grey_erosion(truth, size=3)
    assert not (differs & ~surface).any()
    assert dice(labels == 2, truth == 2) > 0.85
    assert dice(labels == 3, truth == 3) > 0.85


def test_what_lies_outside_the_liver_is_background() -> None:
    case = tiny_case()
    labels = sitk.GetArrayFromImage(threshold_labels(case.ct, case.liver))
    assert np.array_equal(labels > 0, sitk.GetArrayFromImage(case.liver) > 0)


def test_an_empty_liver_is_all_background() -> None:
    ct, liver, _ = easy()
    assert not sitk.GetArrayFromImage(threshold_labels(ct, liver * 0)).any()


def test_ct_and_liver_on_different_grids() -> None:
    ct, liver, _ = easy()
    with pytest.raises(InputError, match=r"baseline: expected a liver mask on the CT's grid.*; got \(44, 40, 35\)"):
        threshold_labels(ct, liver[:, :, 1:])


def test_phantoms_are_too_hard_for_thresholds(phantoms: list[Case]) -> None:
    scores = []
    for case in [*phantoms, *(make_phantom(seed, matrix=128, slice_spacing=4.0) for seed in (100, 101))]:
        labels = sitk.GetArrayFromImage(threshold_labels(case.ct, case.liver))
        liver, vessel, tumor = (sitk.GetArrayFromImage(m) > 0 for m in (case.liver, case.vessel, case.tumor))
        scores.append((dice(labels == 2, vessel & liver), dice(labels == 3, tumor)))
    vessel_dice, tumor_dice = np.mean(scores, axis=0)
    assert 0.05 < vessel_dice < 0.40
    assert tumor_dice < 0.30
