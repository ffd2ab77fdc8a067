"""Attention maps as one picture: a row per variant, a column per skip and half."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from benchmarks.accuracy.figure import TYPE
from benchmarks.accuracy.tables import HALVES

CELL, LEFT = 1.3, 0.4  # inches: of a map with what is around it, of the variants' names


def draw(maps: dict[str, list[dict[str, Any]]], path: Path) -> None:
    """Writes the picture as SVG; maps are by variant, then by skip, finest first, then by half."""
    columns = [(half, level) for half in HALVES for level in range(len(next(iter(maps.values()))))]
    fixed = {"svg.fonttype": "none", "svg.hashsalt": "attention", "font.family": "sans-serif", "font.size": TYPE}
    with rc_context(fixed):
        size = LEFT + CELL * len(columns), CELL * len(maps) + 0.4
        figure = Figure(figsize=size, facecolor="white", layout="constrained")
        grid = figure.subplots(len(maps), len(columns), squeeze=False)
        for number, (variant, levels) in enumerate(maps.items()):
            row = grid[number]
            for panel, (half, level) in zip(row, columns, strict=True):
                weights = np.array(levels[level][half])
                panel.imshow(weights, cmap="gray_r", vmin=0, vmax=weights.max())
                panel.set_xticks([])
                panel.set_yticks([])
                if number == 0:
                    panel.set_title(f"{HALVES[half]}, {' x '.join(map(str, weights.shape))}", fontsize=TYPE)
            row[0].set_ylabel(variant.replace("+", "\n+"), fontsize=TYPE)
        figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})
