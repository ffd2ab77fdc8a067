"""A page shows few enough voxels of a CT, at their places, and loses no tumor."""

import math

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import label

from ltvs.page.shown import MOST_VOXELS, blocks_for, coarse_labels, shown_part
from ltvs.volume.grids import Grid
from support.decoded_page import labeled
from support.tiny_cases import OBLIQUE, SIGNED_PERMUTATIONS, array, image

TOUCHING = np.ones((3, 3, 3))


@pytest.mark.parametrize(
    ("size", "spacing", "blocks"),
    [
        ((512, 512, 50), (0.7, 0.7, 5.0), (1, 1, 1)),
        ((512, 512, 119), (0.74, 0.74, 1.6), (2, 2, 1)),
        ((512, 512, 200), (0.7, 0.7, 1.0), (2, 2, 1)),
        ((200, 512, 512), (1.0, 0.7, 0.7), (1, 2, 2)),
        ((512, 512, 1000), (0.7, 0.7, 0.5), (3, 3, 3)),
        ((30_000_000, 1, 1), (1.0, 0.5, 0.5), (3, 1, 1)),
    ],
)
def test_the_finest_axes_are_joined_first(size, spacing, blocks) -> None:
    assert blocks_for(size, spacing, MOST_VOXELS) == blocks
    assert math.prod(math.ceil(n / b) for n, b in zip(size, blocks, strict=True)) <= MOST_VOXELS


@pytest.mark.parametrize("direction", [SIGNED_PERMUTATIONS[0], SIGNED_PERMUTATIONS[11], *OBLIQUE])
def test_what_is_shown_stays_where_it_is(direction) -> None:
    """Means of blocks of HU that grow steadily with the place are those of the place, up to rounding."""
    ct, labels = labeled(direction)
    grid = Grid.of(ct)
    z, y, x = np.meshgrid(*(np.arange(n) for n in grid.size[::-1]), indexing="ij")
    places = np.stack([x, y, z], -1) * grid.spacing @ np.reshape(grid.direction, (3, 3)).T + grid.origin
    ct = image((places @ (5.0, -3.0, 2.0)).round().astype(np.int16), grid)
    shown = shown_part(ct, labels, most=grid.size[0] * grid.size[1] * grid.size[2] // 3)
    coarse = Grid.of(shown.ct)
    assert max(shown.blocks) == 2
    # Blocks that reach beyond the CT repeat its last voxels.
    for index in np.ndindex(*(n - 2 for n in coarse.size)):
        at = np.add(index, 1)
        expected = coarse.physical(at) @ (5.0, -3.0, 2.0)
        # Each voxel is rounded, and so is the mean.
        assert abs(shown.ct[at.tolist()] - expected) <= 1
    assert Grid.of(shown.labels) == coarse
    assert (np.diag(np.reshape(coarse.direction, (3, 3))) * (-1, -1, 1) > 0.5).all()


def test_a_small_ct_is_shown_as_it_is() -> None:
    ct, labels = labeled()
    shown = shown_part(ct, labels)
    assert (shown.blocks, shown.is_cropped) == ((1, 1, 1), False)
    for part, whole in ((shown.ct, ct), (shown.labels, labels)):
        np.testing.assert_array_equal(array(sitk.DICOMOrient(part, "LPS")), array(whole))


def test_a_long_ct_is_cut_to_the_slices_near_its_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.zeros((100, 7, 9), np.uint8)
    values[60:63, 3, 4] = 1
    grid = Grid((9, 7, 100), (1.0, 1.0, 4.0), (0.0, 0.0, 0.0), (1, 0, 0, 0, 1, 0, 0, 0, 1))
    ct, labels = image(np.zeros(values.shape, np.int16), grid), image(values, grid)
    # A page that is made coarser shows no less of a CT.
    assert not shown_part(ct, labels, most=1500).is_cropped
    monkeypatch.setattr("ltvs.page.shown.MOST_VOXELS", 1574)
    shown = shown_part(ct, labels, most=1500)
    # 40 mm are ten slices; what is left has few enough voxels.
    assert (shown.ct.GetSize(), shown.is_cropped, shown.blocks) == ((9, 7, 23), True, (1, 1, 1))
    assert Grid.of(shown.ct).corners()[:, 2].min() == 50 * 4.0
    nothing = shown_part(ct, labels * 0, most=1500)
    assert (nothing.is_cropped, max(nothing.blocks)) == (False, 3)
    # Four times as many are not cut.
    monkeypatch.setattr("ltvs.page.shown.MOST_VOXELS", 1575)
    assert not shown_part(ct, labels, most=1500).is_cropped


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ([0, 0, 1], 0),
        ([0, 1, 1], 1),
        ([0, 2, 1], 2),
        ([1, 1, 2], 1),
        ([3, 3, 1], 3),
        ([1, 1, 3], 3),
    ],
    ids=["most", "liver", "equal", "most of liver", "tumor", "a tumor of one voxel"],
)
def test_the_label_of_a_block(row, expected) -> None:
    assert coarse_labels(np.array([[row]], np.uint8), (1, 1, 3)).tolist() == [[[expected]]]


@given(
    size=st.tuples(*(st.integers(1, 5) for _ in range(3))),
    blocks=st.tuples(*(st.integers(1, 3) for _ in range(3))),
    share=st.floats(0.01, 0.5),
    seed=st.integers(0, 2**32 - 1),
)
def test_no_tumor_vanishes_and_nothing_is_made_up(size, blocks, share, seed) -> None:
    rng = np.random.default_rng(seed)
    shape = tuple(n * b for n, b in zip(size, blocks, strict=True))
    labels = np.where(rng.random(shape) < share, 3, rng.integers(0, 3, shape)).astype(np.uint8)
    coarse = coarse_labels(labels, blocks)
    assert coarse.shape == size
    spread = coarse
    for axis, block in enumerate(blocks):
        spread = np.repeat(spread, block, axis=axis)
    bodies, count = label(labels == 3, TOUCHING)
    assert set(np.unique(bodies[spread == 3])) >= set(range(1, count + 1))
    for place in np.ndindex(*size):
        inside = labels[tuple(slice(i * b, (i + 1) * b) for i, b in zip(place, blocks, strict=True))]
        assert coarse[place] in inside
