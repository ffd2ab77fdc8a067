"""The largest body among what stage 1 finds, and the notches in it that are tissue."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

import ltvs.model.liver_shape
from ltvs.model.liver_shape import BRIDGE, body_and_sizes, cut_bridges, fill_notches, largest_body

SPACINGS = [(2.0, 1.9, 2.1), (5.0, 1.6, 1.7), (1.0, 3.0, 3.0)]
LIVER, FAT, TUMOR, BILE = 100, -90, 40, 8


def millimeters(spacing: tuple[float, float, float], size: float = 170.0) -> np.ndarray:
    """Return the place of every voxel in mm from the middle of a cube, (3, d, h, w)."""
    axes = [(np.arange(round(size / mm)) - (round(size / mm) - 1) / 2) * mm for mm in spacing]
    return np.stack(np.meshgrid(*axes, indexing="ij"))


def ellipsoid(spacing: tuple[float, float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Return a mask with half axes of 50, 60 and 75 mm, and a ball of 50 mm that reaches 7 mm beyond it."""
    mm = millimeters(spacing)
    mask = ((mm / np.reshape([50, 60, 75], (3, 1, 1, 1))) ** 2).sum(axis=0) <= 1
    ball = np.linalg.norm(mm - np.reshape([0, 0, 57], (3, 1, 1, 1)), axis=0) <= 25
    return mask, ball


@given(st.integers(0, 2**32 - 1), st.tuples(*[st.integers(1, 9)] * 3), st.floats(0, 1), st.sampled_from([1, 50, 2**24]))
def test_the_largest_body_is_one_and_solid(seed: int, size: tuple[int, int, int], share: float, voxels: int) -> None:
    """However many voxels are looked at together; the sizes are of all."""
    mask = np.random.default_rng(seed).random(size) < share
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ltvs.model.liver_shape, "_AT_ONCE", voxels)
        body, sizes = body_and_sizes(mask)
    parts, count = ndimage.label(mask)
    if count:
        expected = ndimage.binary_fill_holes(parts == np.bincount(parts.ravel())[1:].argmax() + 1)
        np.testing.assert_array_equal(body, expected)
    else:
        assert not body.any()
    assert sizes == sorted(np.bincount(parts.ravel())[1:].tolist(), reverse=True)


def test_holes_are_filled_and_the_smaller_body_goes() -> None:
    mask = np.zeros((7, 8, 9), dtype=bool)
    mask[1:6, 1:6, 1:6] = True
    mask[3, 3, 3] = False
    mask[1:3, 7, 7:] = True
    body = largest_body(mask)
    assert body[3, 3, 3]
    assert body.sum() == 125


@pytest.mark.parametrize("spacing", SPACINGS)
def test_a_tumor_at_the_surface_is_put_back(spacing: tuple[float, float, float]) -> None:
    liver, ball = ellipsoid(spacing)
    hu = np.where(liver, LIVER, FAT).astype(np.int16)
    hu[ball & liver] = TUMOR
    found = largest_body(liver & ~ball)
    filled = fill_notches(found, hu, spacing)
    # Its rim, 8 mm and more from where it is 20 mm thick, stays out.
    assert (filled & ball & liver).sum() > 0.6 * (ball & liver).sum()
    assert (filled & ~liver).sum() < 0.02 * liver.sum(), "nothing but the blocks at its edge"
    assert filled[found].all(), "what was there stays"
    assert ndimage.label(filled)[1] == 1


@pytest.mark.parametrize(("spacing", "hu_of_notch"), list(zip(SPACINGS, [FAT, BILE, 400], strict=True)))
def test_fat_bile_and_bone_stay_out(spacing: tuple[float, float, float], hu_of_notch: int) -> None:
    liver, ball = ellipsoid(spacing)
    hu = np.where(liver, LIVER, FAT).astype(np.int16)
    hu[ball] = hu_of_notch
    filled = fill_notches(liver & ~ball, hu, spacing)
    assert (filled & ball & liver).sum() < 0.1 * (ball & liver).sum()


def test_noise_does_not_decide() -> None:
    spacing = SPACINGS[2]
    liver, ball = ellipsoid(spacing)
    hu = np.where(liver, LIVER, FAT) + np.random.default_rng(0).normal(0, 25, liver.shape)
    hu[ball & liver] -= LIVER - 60
    filled = fill_notches(liver & ~ball, hu.astype(np.int16), spacing)
    assert (filled & ball & liver).sum() > 0.6 * (ball & liver).sum()


def test_a_body_without_notches_stays_as_it_is() -> None:
    liver, _ = ellipsoid(SPACINGS[1])
    hu = np.full(liver.shape, TUMOR, dtype=np.int16)
    np.testing.assert_array_equal(fill_notches(liver, hu, SPACINGS[1]), liver)
    nothing = np.zeros_like(liver)
    assert not fill_notches(nothing, hu, SPACINGS[1]).any()


def test_what_a_notch_encloses_is_filled() -> None:
    spacing = SPACINGS[0]
    liver, ball = ellipsoid(spacing)
    hu = np.where(liver, LIVER, FAT).astype(np.int16)
    hu[ball & liver] = TUMOR
    deep = np.linalg.norm(millimeters(spacing) - np.reshape([0, 0, 54], (3, 1, 1, 1)), axis=0) <= 5
    hu[deep] = BILE
    filled = fill_notches(liver & ~ball, hu, spacing)
    assert filled[deep].all()
    np.testing.assert_array_equal(filled, ndimage.binary_fill_holes(filled))


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("width", [0.8 * BRIDGE, 3.5 * BRIDGE])
def test_what_hangs_on_a_narrow_bridge_goes(spacing: tuple[float, float, float], width: float) -> None:
    """Its own surface stays: a body without bridges loses no more than the voxels of its sharpest edge."""
    z, y, x = millimeters(spacing)
    liver = np.linalg.norm(np.stack([z, y, x + 30]), axis=0) <= 45
    other = np.linalg.norm(np.stack([z, y, x - 50]), axis=0) <= 20
    bridge = (np.hypot(z, y) <= width) & (np.abs(x - 20) < 20)
    kept = cut_bridges(liver | other | bridge, spacing)
    narrow = width < BRIDGE
    assert (kept & liver).sum() >= 0.998 * liver.sum()
    assert (kept & other).sum() == (0 if narrow else other.sum())
    assert ndimage.label(kept)[1] == 1


def test_a_body_that_is_all_bridge_stays() -> None:
    thin = np.zeros((20, 30, 30), dtype=bool)
    thin[8:10, 5:25, 5:25] = True
    np.testing.assert_array_equal(cut_bridges(thin, (2.0, 2.0, 2.0)), thin)
    assert not cut_bridges(np.zeros_like(thin), (2.0, 2.0, 2.0)).any()
