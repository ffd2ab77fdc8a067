"""Dice of all variants as one plot: a point for a seed, a bar for their mean."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.accuracy.collect import by_seed, names
from benchmarks.accuracy.run_files import Json
from benchmarks.accuracy.statistics import Array, seed_means
from benchmarks.svg import TYPE, svg

PANELS = ("vessel", "tumor")
#: Percent of Dice below the reference at which a panel begins at the latest; seeds further below are written there.
BELOW = 40
WIDTH, ROW, REST = 5.0, 0.38, 0.9  # inches: of the plot, of a variant's row, above and below the rows
#: Rows above the points at which the name of their variant stands: beside them it would take most of the width.
ABOVE = 0.45


def draw(whole: Json, data: str, variants: Sequence[str], reference: str, path: Path) -> None:
    """Write the plot as SVG, variants from top to bottom, with a line at the mean of the reference.

    A variant that was not run is left out; one of which all runs failed is marked as failed.
    """
    ran = names(whole, data)
    shown = [variant for variant in variants if variant in ran]
    with svg(path, "accuracy", (WIDTH, REST + ROW * max(len(shown), 1))) as figure:
        axes = np.ravel(figure.subplots(1, len(PANELS), sharey=True))
        for panel, label in zip(axes, PANELS, strict=True):
            of_variants = {variant: _points(whole, data, variant, label) for variant in (*shown, reference)}
            low = _begin(np.concatenate(list(of_variants.values())), of_variants[reference])
            for row, variant in enumerate(shown):
                points = of_variants[variant]
                if outside := [f"{value}" for value in np.unique(points[points < low].round().astype(int))]:
                    text = f" ◂ {', '.join(outside)}"
                    panel.annotate(text, (0, row), xycoords=("axes fraction", "data"), va="center")
                if len(points):
                    inside = points[points >= low]
                    panel.plot(inside, [row] * len(inside), "o", color="#1f6fb4", alpha=0.6, markersize=5, mew=0)
                    panel.plot([points.mean()] * 2, [row - 0.22, row + 0.22], color="black", linewidth=2)
                    if variant == reference:
                        panel.axvline(points.mean(), color="#666666", linewidth=0.8, linestyle="--", zorder=0)
                elif not by_seed(whole, data, variant, label, "dice"):
                    panel.annotate("failed", (0.5, row), xycoords=("axes fraction", "data"), ha="center", va="center")
            panel.set_xlim(left=low)
            panel.set_title(label, fontsize=TYPE)
            panel.set_xlabel("Dice, %")
            panel.grid(axis="x", color="#dddddd")
            panel.set_axisbelow(True)
            panel.set_ylim(max(len(shown), 1) - 0.5, -0.5 - ABOVE)
            panel.set_yticks([])
            panel.spines[["top", "left", "right"]].set_visible(False)
        axes[0].set_zorder(1)
        axes[0].patch.set_visible(False)
        for row, variant in enumerate(shown):
            name = axes[0].annotate(variant, (0, row - ABOVE), xycoords=("axes fraction", "data"), va="center")
            name.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 0})
            name.set_in_layout(False)  # it may reach into the next panel, whose points are below it


def _begin(points: Array, of_reference: Array) -> float:
    """Return where the axis of these scores begins, a multiple of 5."""
    if not len(points) or not len(of_reference):
        return 0
    return max(0, 5 * (max(points.min(), of_reference.mean() - BELOW) // 5))


def _points(whole: Json, data: str, variant: str, label: str) -> Array:
    """Return the mean Dice of each seed that has one, percent."""
    scores = by_seed(whole, data, variant, label, "dice")
    points = 100 * seed_means(np.array(list(scores.values()))) if scores else np.array([])
    return points[np.isfinite(points)]
