"""Random variation of patches: rotation is MONAI's, and the liver's surface moves smoothly by up to the reach."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from monai.transforms import Rotate
from scipy import ndimage
from scipy.stats import norm

from ltvs.training.augmentation import jitter_region, rotate_patch

SPACING = (2.0, 1.0, 1.5)


def half_space(size: tuple[int, int, int] = (20, 60, 40), edge: int = 30) -> np.ndarray:
    region = np.zeros(size, dtype=bool)
    region[:, :edge] = True
    return region


@given(st.integers(0, 2**32 - 1), st.floats(1.0, 6.0))
def test_a_flat_surface_moves_by_up_to_the_reach(seed: int, reach: float) -> None:
    region = half_space()
    moved = jitter_region(region, SPACING, reach, np.random.default_rng(seed))
    height = moved.sum(axis=1) * SPACING[1] - 30
    # A voxel for the grid, and the tail of the Gaussian that is cut off.
    assert np.abs(height).max() <= reach + SPACING[1]
    # It moves as one over centimeters: from one voxel to the next by less than a tenth of the reach and a voxel.
    for axis, mm in ((0, SPACING[0]), (1, SPACING[2])):
        assert np.abs(np.diff(height, axis=axis)).max() <= 2 * reach * mm / 25 + SPACING[1]


def test_it_moves_to_both_sides_and_on_average_to_neither() -> None:
    region = half_space()
    heights = [
        (jitter_region(region, SPACING, 4.0, np.random.default_rng(seed)).sum(axis=1) - 30) for seed in range(40)
    ]
    assert np.min(heights) < -2 < 2 < np.max(heights)
    # 40 fields of about 8 independent knots, uniform in -4..4 mm: a standard error of 4 / sqrt(3 * 320) = 0.13 mm.
    assert abs(np.mean(heights)) < 4 * 0.13


def test_reach_0_changes_nothing() -> None:
    region = np.random.default_rng(0).random((5, 6, 7)) < 0.5
    np.testing.assert_array_equal(jitter_region(region, SPACING, 0.0, np.random.default_rng(1)), region)


def test_deep_inside_and_far_outside_stay() -> None:
    region = half_space()
    moved = jitter_region(region, SPACING, 4.0, np.random.default_rng(3))
    inside = ndimage.distance_transform_edt(region, SPACING)
    outside = ndimage.distance_transform_edt(~region, SPACING)
    assert moved[inside > 5].all()
    assert not moved[outside > 5].any()


def test_no_liver_in_the_patch_stays_none_and_all_liver_stays_all() -> None:
    for value in (False, True):
        region = np.full((4, 5, 6), value)
        np.testing.assert_array_equal(jitter_region(region, SPACING, 4.0, np.random.default_rng(2)), region)


@given(st.integers(0, 2**32 - 1), st.floats(0.5, 6.0))
def test_the_surface_is_where_it_is_worked_out_to_be_at_every_voxel(seed: int, reach: float) -> None:
    """Points that are further apart, and lines between them, change a tenth of the voxels at the surface at most."""
    center, radii = np.random.default_rng(seed).uniform((10, 10, 10), (30, 35, 40), (2, 3))
    points = np.moveaxis(np.indices((21, 47, 34)), 0, -1) * SPACING
    region = (((points - center) / radii) ** 2).sum(-1) < 1  # mm
    moved = jitter_region(region, SPACING, reach, np.random.default_rng(seed))
    blurred = ndimage.gaussian_filter(
        region.astype(float), [reach / mm for mm in SPACING], mode="nearest", truncate=2.5
    )
    knots = [max(2, round(n * mm / 40) + 1) for n, mm in zip(region.shape, SPACING, strict=True)]
    shift = torch.from_numpy(np.random.default_rng(seed).uniform(-1, 1, (1, 1, *knots)))
    shift = torch.nn.functional.interpolate(shift, size=region.shape, mode="trilinear", align_corners=True)
    expected = blurred > norm.cdf(shift[0, 0])
    beside = [ndimage.binary_dilation(mask, np.ones((3, 3, 3))) for mask in (expected, ~expected)]
    surface = beside[0] & beside[1]
    assert (moved != expected).sum() <= 0.1 * surface.sum()


@pytest.mark.parametrize("angle", [-0.4, 0.17, 1.3])
def test_it_is_a_rotation_of_every_slice(angle: float) -> None:
    generator = torch.Generator().manual_seed(5)
    image = torch.randn((3, 14, 19), generator=generator)
    target = torch.randint(0, 3, (3, 14, 19), generator=generator, dtype=torch.uint8)
    moved, classes = rotate_patch(image, target, angle)
    for got, before, mode, tolerance in ((moved, image, "bilinear", 1e-4), (classes, target, "nearest", 0)):
        expected = Rotate(angle, mode=mode, padding_mode="zeros")(before.float()).as_tensor()
        # In single precision a place is off by 1e-6 of a pixel, and neighbors differ by a few units.
        np.testing.assert_allclose(got.float(), expected, rtol=0, atol=tolerance)


def test_an_angle_of_0_changes_nothing() -> None:
    image, target = torch.randn(2, 3, 4), torch.ones((2, 3, 4), dtype=torch.uint8)
    moved, classes = rotate_patch(image, target, 0.0)
    assert torch.equal(moved, image)
    assert torch.equal(classes, target)
