"""Pictures of a study: labels of every system on one CT, as the paper's Fig. 3, and Dice over parameters."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import SimpleITK as sitk
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from benchmarks.accuracy.statistics import mean_sd
from benchmarks.point_names import name_points
from benchmarks.svg import TYPE, svg
from benchmarks.table1.budgets import COMMON_RATE
from benchmarks.table1.collect import scores_of
from benchmarks.table1.tables import OURS
from benchmarks.table1.testing import STRUCTURES
from ltvs.model.systems.registry import NETWORKS, TABLE_1
from ltvs.report.rendering import render
from ltvs.report.slices import VIEWS, draw_slice, field_of_view, find_crossing, upright
from ltvs.runtime.files import atomic_path
from ltvs.volume.labels import COLORS

#: Pixels of a panel, and of the picture per inch.
PANEL, DPI = 240, 120
#: Panels side by side: the reference and the ten systems in two rows.
COLUMNS = 6
#: Pixels above a panel for its title.
TITLE = 27
#: Below all panels, and its height in pixels.
LEGEND, LINE = ("liver", "vessel", "tumor"), 35


def draw_labels(ct: sitk.Image, reference: sitk.Image, labels: Mapping[str, sitk.Image], path: Path) -> None:
    """Write a PNG: the axial slice through the largest tumor and a 3D view, of the reference and of every system.

    Args:
        ct: HU.
        reference: its labels, on the same grid.
        labels: of each system by its title, on the same grid.
        path: of the PNG.
    """
    shown = {"Reference": reference, **labels}
    organ = upright(ct)
    maps = {title: upright(image) for title, image in shown.items()}
    index, field = find_crossing([maps["Reference"]]), field_of_view(organ, [maps["Reference"]])
    lines = -(-len(maps) // COLUMNS)
    height, width = lines * (TITLE + 2 * PANEL) + LINE, COLUMNS * PANEL
    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor="white")
    for number, (title, image) in enumerate(maps.items()):
        line, column = divmod(number, COLUMNS)
        top = line * (TITLE + 2 * PANEL) + TITLE
        for row in range(2):
            low = 1 - (top + (row + 1) * PANEL) / height
            axes = figure.add_axes((column / COLUMNS, low, 0.98 / COLUMNS, 0.98 * PANEL / height))
            axes.set_axis_off()
            if row == 0:
                draw_slice(axes, organ, image, VIEWS[0], index, field)
                axes.set_title(title, size=10, pad=5)
            else:
                axes.imshow(render(image, *field, PANEL), interpolation="none")
    patches = [Patch(color=COLORS[name], label=name) for name in LEGEND]
    figure.legend(handles=patches, loc="lower center", ncols=len(patches), frameon=False, fontsize=11)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png")


def draw_dice(report: dict[str, Any], path: Path) -> None:
    """Write an SVG: Dice of tumors and of vessels over the parameters, a point per system."""
    with svg(path, "table1", (7.0, 7.6)) as figure:
        panels = figure.subplots(2, 1, sharex=True)
        points: list[dict[str, tuple[float, float]]] = []
        for axes, structure in zip(panels, STRUCTURES, strict=True):
            points.append({})
            for network in NETWORKS:
                scores = scores_of(report, network, COMMON_RATE, structure, "dice", real=False)
                costs = report["costs"].get(network)
                if costs is None or not scores.size:
                    continue
                x, y = costs["parameters"] / 1e6, mean_sd(scores)[0]
                color = "#b5392f" if network == OURS else "#1f6fb4"
                axes.plot([x], [y], "o", color=color)
                points[-1][TABLE_1[network].title] = x, y
            axes.set_xscale("log")
            axes.set_xlim(1.5, 260)
            axes.set_xticks([2, 5, 10, 20, 50, 100], ["2", "5", "10", "20", "50", "100"])
            axes.minorticks_off()
            axes.set_ylabel(f"{structure} Dice, %")
            axes.margins(y=0.15)
            axes.grid(color="#dddddd")
            axes.set_axisbelow(True)
            axes.spines[["top", "right"]].set_visible(False)
        axes.set_xlabel("parameters, millions")
        figure.draw_without_rendering()
        for axes, named in zip(panels, points, strict=True):
            name_points(axes, named, TYPE - 2)
