"""Random variation of patches: rotation is MONAI's, and the liver's surface moves smoothly by up to the reach.

Of --augment: bodies are bent without being turned inside out, labels along with them, and each change of intensity does
what it says.
"""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.transforms import Rotate
from scipy import ndimage
from scipy.stats import norm

from ltvs.training.augmentation import (
    Box,
    add_noise,
    affine_sources,
    blur_slices,
    box_of,
    change_contrast,
    change_intensities,
    deform,
    draw_sources,
    elastic_displacement,
    is_inside,
    jitter_region,
    lower_resolution,
    rotate_patch,
)

SPACING = (2.0, 1.0, 1.5)
WINDOW = (-160.0, 240.0)

SIZES = st.tuples(st.integers(1, 17), st.integers(1, 33), st.integers(1, 33))


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


def whole(size: tuple[int, int, int]) -> Box:
    return slice(0, size[0]), slice(0, size[1]), slice(0, size[2])


def ball(size: tuple[int, int, int], radius: float, spacing: tuple[float, float, float] = SPACING) -> np.ndarray:
    """A ball about the middle, radius in mm, as labels."""
    mm = np.moveaxis(np.indices(size) - (np.reshape(size, (3, 1, 1, 1)) - 1) / 2, 0, -1) * spacing
    return (np.linalg.norm(mm, axis=-1) <= radius).astype(np.uint8)


def stretching(sources: torch.Tensor) -> np.ndarray:
    """The volume of the case that a voxel of the patch takes in, between all neighbors, in voxels."""
    gradients = np.stack(np.gradient(sources.double().numpy(), axis=(1, 2, 3)), -1)
    return np.linalg.det(np.moveaxis(gradients, 0, -2))


def random_hu(size: tuple[int, int, int] = (9, 21, 30), seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(-160, 241, size, dtype=np.int16)


@pytest.mark.parametrize("angle", [0.0, -0.4, 1.3])
def test_places_of_a_turned_patch_are_those_of_a_rotation(angle: float) -> None:
    hu = random_hu((3, 14, 19))
    labels = (hu > 0).astype(np.uint8)
    where = whole(hu.shape)
    sources = affine_sources(hu.shape, where, (2.0, 1.5, 1.5), angle, 1.0)
    moved, classes = deform(hu, labels, sources, where)
    expected, _ = rotate_patch(torch.from_numpy(hu.astype(np.float32)), torch.from_numpy(labels), angle)
    between = ((sources >= 0) & (sources <= torch.tensor(hu.shape).reshape(3, 1, 1, 1) - 1)).all(0).numpy()
    assert between.sum() > 300
    # Rounded to whole HU, from places that are off by 1e-6 of a voxel.
    assert np.abs(moved - expected.numpy())[between].max() <= 0.51
    if angle == 0:
        np.testing.assert_array_equal(classes, labels)


@pytest.mark.parametrize("scale", [0.8, 1.0, 1.2])
def test_a_ball_is_enlarged_by_the_scale(scale: float) -> None:
    size = (31, 60, 41)
    labels = ball(size, 20.0)
    sources = affine_sources(size, whole(size), SPACING, 0.3, scale)
    _, moved = deform(labels.astype(np.int16), labels, sources, whole(size))
    assert moved.sum() == pytest.approx(scale**3 * labels.sum(), rel=0.03)
    assert (moved != ball(size, 20.0 * scale)).mean() < 0.01


def test_a_patch_inside_a_case_is_filled_from_around_it() -> None:
    hu = random_hu((20, 40, 50))
    where = (slice(6, 14), slice(10, 22), slice(20, 30))
    sources = affine_sources((8, 12, 10), where, SPACING, 0.0, 0.8)
    box = box_of(sources, hu.shape)
    assert all(b.start < w.start and b.stop > w.stop for b, w in zip(box, where, strict=True))
    assert is_inside(sources, hu.shape).all()
    labels = (hu > 40).astype(np.uint8)
    cut, full = (deform(hu[part], labels[part], sources, part) for part in (box, whole(hu.shape)))
    # Places in parts of different sizes are rounded differently.
    assert np.abs(cut[0] - full[0]).max() <= 1
    assert (cut[1] != full[1]).mean() < 0.001


@given(SIZES, SIZES, st.integers(0, 2**32 - 1))
def test_labels_are_where_their_hu_are(size: tuple[int, int, int], patch: tuple[int, int, int], seed: int) -> None:
    """Patches may be larger than the case: outside is the nearest of it, and known not to be inside."""
    rng = np.random.default_rng(seed)
    labels = (ndimage.gaussian_filter(rng.random(size), 2.0) > 0.5).astype(np.uint8)
    d, h, w = (slice(0, min(n, p)) for n, p in zip(size, patch, strict=True))
    sources = draw_sources(patch, (d, h, w), SPACING, 0.2, rng)
    box = box_of(sources, size)
    hu, classes = deform((200 * labels[box]).astype(np.int16), labels[box], sources, box)
    assert hu.shape == classes.shape == patch
    np.testing.assert_array_equal(classes[hu != 100], (hu > 100)[hu != 100])
    nearest = np.rint(sources.numpy()).astype(int)
    clear = np.abs(sources.numpy() - nearest).max(0) < 0.49
    outside = ((nearest < 0) | (nearest >= np.reshape(size, (3, 1, 1, 1)))).any(0)
    np.testing.assert_array_equal(is_inside(sources, size).numpy()[clear], ~outside[clear])


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=10)
def test_nothing_is_turned_inside_out_and_every_class_keeps_its_share(seed: int) -> None:
    # So fine that whole voxels at a ball's surface are 1% of its volume (the standard deviation over 120 seeds).
    size, spacing = (45, 89, 61), (1.0, 0.5, 0.75)
    sources = draw_sources(size, whole(size), spacing, 0.3, np.random.default_rng(seed))
    taken_in = stretching(sources)
    assert taken_in.min() > 0
    labels = ball(size, 12.0, spacing) + ball(size, 7.0, spacing) * np.uint8(2)
    _, moved = deform(labels.astype(np.int16), labels, sources, whole(size))
    for label in (1, 3):
        # Where the ball was not moved out of the patch, all of its volume is taken in, and once.
        edges = [moved[0], moved[-1], moved[:, 0], moved[:, -1], moved[:, :, 0], moved[:, :, -1]]
        if not any((edge == label).any() for edge in edges):
            assert taken_in[moved == label].sum() == pytest.approx((labels == label).sum(), rel=0.08)
    assert (moved == 3).any()


@given(SIZES, st.floats(30, 80), st.floats(4, 12), st.integers(0, 2**32 - 1))
def test_displacements_reach_as_far_as_asked_unless_they_are_too_steep(
    size: tuple[int, int, int], distance: float, reach: float, seed: int
) -> None:
    moved = elastic_displacement(size, SPACING, distance, reach, np.random.default_rng(seed))
    assert moved.shape == (3, *size)
    mm = moved.numpy() * np.reshape(SPACING, (3, 1, 1, 1))
    slopes = [np.abs(np.diff(mm, axis=i + 1)).max(initial=0) / SPACING[i] for i in range(3)]
    assert np.abs(mm).max() <= reach + 1e-4
    assert max(slopes) <= 0.25 + 1e-3
    if min(size) > 4:
        assert np.abs(mm).max() > 0.8 * reach or max(slopes) > 0.15


@given(st.floats(-160, 240), st.floats(0.75, 1.35), st.floats(0.8, 1.25), st.floats(-20, 20))
def test_contrast_keeps_the_order_and_the_ends(stays: float, gain: float, gamma: float, brightness: float) -> None:
    hu = np.arange(-160, 241, dtype=np.int16).reshape(1, 1, -1)
    changed = change_contrast(hu, WINDOW, stays, gain, gamma, brightness)[0, 0]
    assert changed.dtype == np.float32
    assert (np.diff(changed) >= 0).all()
    assert (changed[0], changed[-1]) == WINDOW
    fixed = change_contrast(np.full((1, 1, 1), round(stays), np.int16), WINDOW, round(stays), gain, gamma, 0.0)
    assert fixed.item() == pytest.approx(round(stays), abs=1e-3)


def test_contrast_brightness_and_gamma() -> None:
    hu = np.array([[[0, 40, 90, 100, 110, 150]]], dtype=np.int16)
    np.testing.assert_allclose(change_contrast(hu, WINDOW, 100.0, 1.2, 1.0, 0.0)[0, 0], [-20, 28, 88, 100, 112, 160])
    np.testing.assert_allclose(change_contrast(hu, WINDOW, 40.0, 0.75, 1.0, 8.0)[0, 0, :3], [18, 48, 85.5])
    dark, bright = (change_contrast(hu, WINDOW, 100.0, 1.0, gamma, 0.0)[0, 0] for gamma in (0.8, 1.25))
    assert dark[3] == bright[3] == 100
    assert dark[5] - dark[3] < 50 < bright[5] - bright[3], "of what is bright, gamma raises the contrast"
    np.testing.assert_allclose(change_contrast(hu, WINDOW, 100.0, 1.0, 1.0, 0.0)[0, 0], hu[0, 0])


@pytest.mark.parametrize("width", [1.0, 2.5])
def test_blur_is_a_gaussian_in_mm_within_slices(width: float) -> None:
    point = np.zeros((3, 41, 41), dtype=np.float32)
    point[1, 20, 20] = 100
    blurred = blur_slices(point, SPACING, width)
    assert not blurred[[0, 2]].any()
    assert blurred.sum() == pytest.approx(100, rel=1e-4)
    for axis, mm in ((0, SPACING[1]), (1, SPACING[2])):
        profile = blurred[1].sum(axis=1 - axis) / 100
        deviation = np.sqrt((profile * ((np.arange(41) - 20) * mm) ** 2).sum())
        assert deviation == pytest.approx(width, rel=0.05)
    flat = np.full((2, 5, 6), 30, dtype=np.float32)
    np.testing.assert_allclose(blur_slices(flat, SPACING, width), flat, rtol=1e-5)


def test_thick_slices_average_along_the_slices_alone() -> None:
    noise = np.random.default_rng(0).standard_normal((24, 30, 40)).astype(np.float32)
    thick = lower_resolution(noise, SPACING, (6.0, 1.0, 1.5))
    assert thick.shape == noise.shape
    # Averages of 3 slices, halfway between which linear interpolation averages again.
    assert 0.4 < thick.std() < 3**-0.5
    beside = [np.corrcoef(thick[:, :-1].ravel(), thick[:, 1:].ravel())[0, 1],
              np.corrcoef(thick[:-1].ravel(), thick[1:].ravel())[0, 1]]  # fmt: skip
    assert abs(beside[0]) < 0.05 < 0.6 < beside[1]


def test_lower_resolution_keeps_what_is_smooth_and_what_is_coarse_already() -> None:
    ramp = np.broadcast_to(np.linspace(-100, 100, 40, dtype=np.float32), (8, 20, 40)).copy()
    lowered = lower_resolution(ramp, SPACING, (2.0, 2.0, 3.0))
    np.testing.assert_allclose(lowered[..., 2:-2], ramp[..., 2:-2], atol=0.01)
    noise = np.random.default_rng(0).standard_normal((8, 20, 40)).astype(np.float32)
    assert lower_resolution(noise, SPACING, (2.0, 2.0, 3.0)).std() < 0.6
    assert lower_resolution(noise, SPACING, (1.9, 0.5, 1.5)) is noise


def test_noise_has_its_deviation_inside_the_window_and_none_at_its_ends() -> None:
    hu = np.repeat(np.array([-160, 40, 235, 240], dtype=np.float32), 5000).reshape(4, 50, 100)
    noisy = add_noise(hu, WINDOW, 12.0, np.random.default_rng(0))
    assert noisy.dtype == np.float32
    np.testing.assert_array_equal(noisy[[0, 3]], hu[[0, 3]])
    # A standard error of a hundredth.
    assert noisy[1].std() == pytest.approx(12, rel=0.04)
    assert noisy[1].mean() == pytest.approx(40, abs=4 * 12 / 5000**0.5)
    assert noisy[2].max() == 240


@given(SIZES, st.integers(0, 2**32 - 1), st.none() | st.floats(-50, 150))
def test_changed_intensities_stay_in_the_window(size: tuple[int, int, int], seed: int, stays: float | None) -> None:
    hu = random_hu(size, seed)
    before = hu.copy()
    changed, again = (change_intensities(hu, SPACING, WINDOW, stays, np.random.default_rng(seed)) for _ in range(2))
    assert (changed.shape, changed.dtype) == (size, np.int16)
    assert -160 <= changed.min() <= changed.max() <= 240
    np.testing.assert_array_equal(changed, again)
    np.testing.assert_array_equal(hu, before)


def test_the_liver_keeps_its_median_in_stage_2_and_changes_its_brightness_in_stage_1() -> None:
    liver = np.full((4, 30, 40), 100, dtype=np.int16)
    stays, moves = (
        [np.median(change_intensities(liver, SPACING, WINDOW, offset, np.random.default_rng(seed)))
         for seed in range(60)]
        for offset in (100.0, None)
    )  # fmt: skip
    assert np.abs(np.subtract(stays, 100)).max() <= 1
    assert min(moves) < 85 < 115 < max(moves)


def test_some_patches_keep_their_intensities() -> None:
    hu = random_hu((3, 9, 10))
    same = sum(np.array_equal(change_intensities(hu, SPACING, WINDOW, None, np.random.default_rng(seed)), hu)
               for seed in range(600))  # fmt: skip
    # None of the five changes: 0.5 * 0.7^3 * 0.6 = 0.10 of them, within four standard deviations.
    assert 600 * 0.103 - 4 * 7.5 < same < 600 * 0.103 + 4 * 7.5
