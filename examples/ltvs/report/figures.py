"""The picture of a labeled CT: labels over three slices and in 3D."""

from pathlib import Path

import numpy as np
import SimpleITK as sitk
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from ltvs.report.rendering import render
from ltvs.report.slices import VIEWS, draw_scale_bar, draw_slice, field_of_view, find_crossing, mark_edges, upright
from ltvs.runtime.errors import InputError
from ltvs.runtime.files import atomic_path
from ltvs.volume.images import same_grid
from ltvs.volume.labels import COLORS, LIVER, TUMOR, VESSEL

#: Pixels: side of a panel, gap between panels, height of a heading, of the legend, width of row names; and per inch.
PANEL, GAP, LINE, _LEGEND, _NAMES, _DPI = 420, 8, 36, 52, 38, 150

#: Voxels around what is shown, which interpolation sees.
_RIM = 8

_COLUMNS = (*(view.name for view in VIEWS), "3D, from the front")


def draw_report(
    ct: sitk.Image, labels: sitk.Image, path: Path, *, reference: sitk.Image | None = None, title: str = ""
) -> None:
    """Write a PNG: labels over three slices of the CT and in 3D; a reference in a second row.

    All panels have one scale and the radiological convention, whatever the orientation of the CT. The slices cross in
    the middle of the largest tumor, else where most vessel is, else in the liver; of the reference, if given.

    Args:
        ct: HU.
        labels: on the CT's grid.
        path: of the PNG.
        reference: labels to compare with, on the CT's grid.
        title: written above.

    Raises:
        InputError: labels or reference do not lie on the CT's grid, or the file cannot be written.
    """
    rows = {"Prediction": labels} if reference is None else {"Prediction": labels, "Reference": reference}
    for name, row in rows.items():
        if not same_grid(row, ct):
            raise InputError(
                f"{path}: {name.lower()} {row.GetSize()} does not lie on the CT's grid {ct.GetSize()}; "
                "give labels made for this CT"
            )
    start, size = _shown_box(ct, list(rows.values()))
    ct, *parts = (upright(sitk.RegionOfInterest(image, size, start)) for image in (ct, *rows.values()))
    rows = dict(zip(rows, parts, strict=True))
    shown = list(rows.values())[::-1]
    center, side = field_of_view(ct, shown)
    index = find_crossing(shown)

    figure, panels = _layout(list(rows), title)
    for row, line in zip(rows.values(), panels, strict=True):
        for axes, view in zip(line, VIEWS, strict=False):
            draw_slice(axes, ct, row, view, index, (center, side))
        line[-1].imshow(render(row, center, side, PANEL), interpolation="none")
        mark_edges(line[-1], "RLSI", "0.45", "white")
    draw_scale_bar(panels[0][0], side)
    figure.legend(handles=_legend(list(rows.values())), loc="lower center", ncols=3, frameon=False, fontsize=11)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png")


def _shown_box(ct: sitk.Image, labels: list[sitk.Image]) -> tuple[list[int], list[int]]:
    """Return first voxel and size, (x, y, z), of the part of a CT that is shown, with some voxels around it.

    A whole CT is many times as large as the field of view around its liver.
    """
    if not any(sitk.GetArrayViewFromImage(image).any() for image in labels):
        return [0, 0, 0], list(ct.GetSize())
    center, side = field_of_view(ct, labels)
    spacing = np.array(ct.GetSpacing())
    start = np.maximum(np.floor((center - side / 2) / spacing) - _RIM, 0).astype(int)
    stop = np.minimum(np.ceil((center + side / 2) / spacing) + _RIM + 1, ct.GetSize()).astype(int)
    return start.tolist(), (stop - start).tolist()


def _layout(names: list[str], title: str) -> tuple[Figure, list[list[Axes]]]:
    """Return an empty picture with a row of square panels for every name; a single row is not named."""
    left, top = GAP + (_NAMES if len(names) > 1 else 0), LINE * (2 if title else 1)
    step = PANEL + GAP
    width, height = left + len(_COLUMNS) * step, top + len(names) * step + _LEGEND
    figure = Figure(figsize=(width / _DPI, height / _DPI), dpi=_DPI)
    figure.text(0.5, 1 - LINE / 2 / height, title, ha="center", va="center", size=13)
    panels = []
    for i, name in enumerate(names):
        low = 1 - (top + i * step + PANEL) / height
        corners = [(left + k * step) / width for k in range(len(_COLUMNS))]
        panels.append([figure.add_axes((x, low, PANEL / width, PANEL / height)) for x in corners])
        for axes in panels[-1]:
            axes.set_axis_off()
        if len(names) > 1:
            middle = low + PANEL / 2 / height
            figure.text(_NAMES * 0.6 / width, middle, name, rotation=90, ha="center", va="center", size=11)
    for axes, column in zip(panels[0], _COLUMNS, strict=True):
        axes.set_title(column, size=11, pad=5)
    return figure, panels


def _legend(rows: list[sitk.Image]) -> list[Patch]:
    """Return the entries of the legend, with the volume of each structure by row; the liver is the whole organ."""
    patches = []
    for name, values in (("liver", (LIVER, VESSEL, TUMOR)), ("vessel", (VESSEL,)), ("tumor", (TUMOR,))):
        volumes = []
        for row in rows:
            voxels = np.count_nonzero(np.isin(sitk.GetArrayViewFromImage(row), values))
            volume = voxels * np.prod(row.GetSpacing()) / 1000
            volumes.append(f"{volume:.0f} mL" if volume >= 100 else f"{volume:.1f} mL")
        text = " (reference ".join([f"{name} {volumes[0]}", *(f"{volume})" for volume in volumes[1:])])
        filling = "none" if name == "liver" else (*COLORS[name], 0.4)
        patches.append(Patch(edgecolor=COLORS[name], facecolor=filling, label=text))
    return patches
