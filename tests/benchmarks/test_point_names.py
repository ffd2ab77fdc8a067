"""Names beside the points of a plot."""

from itertools import combinations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure

from benchmarks.point_names import name_points


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32 - 1), st.integers(1, 5))
def test_names_cover_neither_points_nor_each_other(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    figure = Figure(figsize=(7, 4), dpi=100)
    axes = figure.subplots()
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    points = {f"3D Net {i}": (float(rng.uniform(0.1, 0.9)), float(rng.uniform(0.4, 0.6))) for i in range(count)}
    boxes = name_points(axes, points, size=9)
    assert [text.get_text() for text in axes.texts] == sorted(points, key=lambda name: points[name])
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))
    for x, y in axes.transData.transform(list(points.values())):
        assert not any(box.contains(x, y) for box in boxes)
    left, right = axes.get_window_extent().intervalx
    assert all(left <= box.x0 and box.x1 <= right for box in boxes)


def test_a_name_without_room_is_written_all_the_same() -> None:
    axes = Figure(figsize=(1, 1)).subplots()
    name_points(axes, {"a name wider than the plot": (0.5, 0.5)}, size=40)
    assert [text.get_text() for text in axes.texts] == ["a name wider than the plot"]
