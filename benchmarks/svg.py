"""Figures for the docs as SVG files that are the same for the same content."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from matplotlib import rc_context
from matplotlib.figure import Figure

#: Points of type: a phone shows a plot at three quarters of its width or more, where this is still 8.
TYPE = 11


@contextmanager
def svg(path: Path, salt: str, size: tuple[float, float]) -> Iterator[Figure]:
    """Yield a figure of `size` inches, which is then written to `path` with its text as text."""
    fixed = {"svg.fonttype": "none", "svg.hashsalt": salt, "font.family": "sans-serif", "font.size": TYPE}
    with rc_context(fixed):
        figure = Figure(figsize=size, facecolor="white", layout="constrained")
        yield figure
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})
