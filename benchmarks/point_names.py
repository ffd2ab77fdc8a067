"""Names beside the points of a plot, where they cover neither points nor each other."""

from collections.abc import Mapping
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.text import Annotation, Text
from matplotlib.transforms import Bbox
from numpy.typing import NDArray

#: Where a name may be, in points from its point, and how it is aligned there; the first that is free is taken.
PLACES: list[tuple[int, int, Literal["left", "right", "center"]]] = [
    place for dy in (4, -12, 18, -26, 32, -40, 46) for place in ((7, dy, "left"), (-7, dy, "right"), (0, dy, "center"))
]
#: Beside the point no line is needed.
BESIDE = (4, -12)
#: Half of the width of a point, the least distance of two names, and that of a name without a line from other points.
POINT, GAP, OTHERS = 5.0, 1.0, 14.0


def name_points(axes: Axes, points: Mapping[str, tuple[float, float]], size: float) -> list[Bbox]:
    """Write the name of each point where there is room, with a line to its point where it is not beside it.

    Args:
        axes: with their final limits, scales and size.
        points: (x, y) by name.
        size: of the type.

    Returns:
        The boxes of the names, in pixels. A name that has no room anywhere is where it was tried last.
    """
    figure = axes.get_figure(root=True)
    assert figure is not None
    renderer, scale = RendererAgg(*figure.bbox.size, figure.dpi), figure.dpi / 72
    left, right = axes.get_window_extent(renderer).intervalx
    centers = {name: axes.transData.transform(point) for name, point in points.items()}
    taken = [_square(center, POINT * scale) for center in centers.values()]
    for name in sorted(points, key=lambda name: points[name]):
        others = [_square(center, OTHERS * scale) for other, center in centers.items() if other != name]
        text = None
        for dx, dy, alignment in PLACES:
            if text is not None:
                text.remove()
            line = None if dy in BESIDE else {"arrowstyle": "-", "color": "#999999", "shrinkA": 0, "shrinkB": 3}
            text = axes.annotate(
                name, points[name], (dx, dy), textcoords="offset points", size=size, ha=alignment, arrowprops=line
            )
            box = _box(text, renderer).padded(GAP * scale)
            covered = box.count_overlaps(taken if line else taken + others)
            if left <= box.x0 and box.x1 <= right and not covered:
                break
        taken.append(box)
    return taken[len(points) :]


def _square(center: NDArray[np.float64], half: float) -> Bbox:
    return Bbox([center - half, center + half])


def _box(text: Annotation, renderer: RendererAgg) -> Bbox:
    """Return the box of the words, without the line."""
    text.set_in_layout(False)
    text.update_positions(renderer)
    return Text.get_window_extent(text, renderer)
