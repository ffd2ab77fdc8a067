"""Holes in a body."""

import numpy as np

from ltvs.volume.holes import without_holes


def test_a_way_out_through_faces_keeps_a_hole() -> None:
    """In a block are a hole, one that touches the background in an edge alone, and one with a way out of the array."""
    block = np.zeros((5, 6, 12), dtype=bool)
    block[:, 1:5, 1:] = True
    block[2, 1, 11] = False  # a dent
    block[:3, 2, 8] = False  # the way out
    mask = block.copy()
    mask[2, 3, 3:5] = False
    mask[2, 2, 10] = False  # an edge of the dent
    np.testing.assert_array_equal(without_holes(mask), block)


def test_an_empty_mask_has_no_holes() -> None:
    assert not without_holes(np.zeros((2, 3, 1), dtype=bool)).any()
