"""What can be said of a closed surface from its triangles alone."""

import numpy as np


def volume(points: np.ndarray, faces: np.ndarray) -> float:
    """Return the volume that triangles enclose: above 0 if they are seen counterclockwise from outside."""
    a, b, c = (points - points.mean(axis=0))[faces].transpose(1, 0, 2)
    return float((a * np.cross(b, c)).sum() / 6)


def assert_closed(faces: np.ndarray) -> None:
    """Assert that every edge is shared by exactly two triangles, which pass it in opposite directions."""
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    there, times = np.unique(edges, axis=0, return_counts=True)
    assert times.max() == 1
    np.testing.assert_array_equal(there, np.unique(edges[:, ::-1], axis=0))
