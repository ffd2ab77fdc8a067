"""Connected components of a mask."""

import numpy as np

from ltvs.measurement.components import components


def test_corners_connect_and_the_largest_comes_first() -> None:
    mask = np.zeros((6, 7, 8), dtype=bool)
    mask[0, 0, 0] = True
    mask[3, 4, 5] = mask[4, 5, 6] = mask[5, 4, 7] = True
    mask[0, 5, 1:3] = True
    found = components(mask)
    assert [int(part.mask.sum()) for part in found] == [3, 2, 1]
    assert found[0].box == (slice(3, 6), slice(4, 6), slice(5, 8))
    assert found[0].first == (5, 4, 3)
    again = np.zeros_like(mask)
    for part in found:
        again[part.box] |= part.mask
    assert (again == mask).all()


def test_a_box_holds_one_component_alone() -> None:
    """A ring around a voxel."""
    mask = np.ones((1, 5, 5), dtype=bool)
    mask[0, 1:4, 1:4] = False
    mask[0, 2, 2] = True
    ring, voxel = components(mask)
    assert (ring.mask.sum(), voxel.mask.sum()) == (16, 1)
    assert not ring.mask[0, 2, 2]


def test_of_equal_size_the_first_comes_first() -> None:
    mask = np.zeros((3, 1, 5), dtype=bool)
    mask[0, 0, 4] = mask[2, 0, 0] = True
    assert [part.first for part in components(mask)] == [(4, 0, 0), (0, 0, 2)]


def test_nothing() -> None:
    assert components(np.zeros((2, 3, 4), dtype=bool)) == []
