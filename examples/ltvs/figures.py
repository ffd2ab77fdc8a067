"""Pictures: a case's labels over its CT and in 3D, and the curves of a training."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from matplotlib.patheffects import withStroke
from skimage.measure import label as components

from ltvs.errors import InputError
from ltvs.files import atomic_path
from ltvs.grids import label_box
from ltvs.images import same_grid
from ltvs.labels import BACKGROUND, COLORS, LIVER, TUMOR, VESSEL
from ltvs.rendering import render

#: HU, black to white.
WINDOW = (-160.0, 240.0)

#: Pixels: of a square panel, between panels, above them, below them, left of them, and per inch.
_PANEL, _GAP, _HEAD, _FOOT, _NAMES, _DPI = 440, 8, 34, 48, 36, 150

#: Around the labels on every side, mm.
_MARGIN = 12.0

_View = tuple[str, tuple[int, int], str]

#: Each view: its name, the axes (0 x, 1 y, 2 z) to the right and up or down, its marks left, right, top and bottom.
_VIEWS: tuple[_View, ...] = (("Axial", (0, 1), "RLAP"), ("Coronal", (0, 2), "RLSI"), ("Sagittal", (1, 2), "APSI"))


def draw_report(
    ct: sitk.Image, labels: sitk.Image, path: Path, *, reference: sitk.Image | None = None, title: str = ""
) -> None:
    """Write a PNG: labels over three slices of the CT, and in 3D; a reference the same way in a second row.

    In radiological convention, whatever the orientation of the CT, and all panels at one scale. The slices go through
    the middle of the largest tumor, else where most vessel is, else through the liver; the reference decides if given.

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
    ct = _upright(ct)
    rows = {name: _upright(row) for name, row in rows.items()}
    decisive = list(rows.values())[::-1]
    center, side = _field_of_view(ct, decisive)
    crossing = _crossing(ct, decisive)

    left, top = (_NAMES if reference else 0) + _GAP, _HEAD * (2 if title else 1)
    width, height = left + 4 * (_PANEL + _GAP), top + len(rows) * (_PANEL + _GAP) + _FOOT
    figure = Figure(figsize=(width / _DPI, height / _DPI), dpi=_DPI)
    figure.text(0.5, 1 - _HEAD / 2 / height, title, ha="center", va="center", size=12)
    for i, (name, row) in enumerate(rows.items()):
        y = 1 - (top + i * (_PANEL + _GAP) + _PANEL) / height
        panels = [
            figure.add_axes(((left + k * (_PANEL + _GAP)) / width, y, _PANEL / width, _PANEL / height))
            for k in range(len(_VIEWS) + 1)
        ]
        for axes, view in zip(panels, _VIEWS, strict=False):
            _draw_slice(axes, ct, row, view, crossing)
            _set_view(axes, view, center, side)
        panels[-1].imshow(render(row, center, side, _PANEL), interpolation="none")
        _mark(panels[-1], "RLSI", "0.45")
        for axes, column in zip(panels, (*(view[0] for view in _VIEWS), "3D, from the front"), strict=True):
            axes.set_axis_off()
            if i == 0:
                axes.set_title(column, size=10, pad=5)
        if reference:
            place = {"ha": "center", "va": "center", "transform": panels[0].transAxes}
            panels[0].text(-0.045, 0.5, name, rotation=90, size=10, **place)
    _scale_bar(figure.axes[0], side)
    figure.legend(handles=_key(rows), loc="lower center", ncols=3, frameon=False, fontsize=10, bbox_to_anchor=(0.5, 0))
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png")


def _upright(image: sitk.Image) -> sitk.Image:
    """The same voxels along the patient's axes, LPS; from then on in mm from the first one, and not oblique."""
    image = sitk.DICOMOrient(image, "LPS")
    image.SetOrigin((0.0, 0.0, 0.0))
    image.SetDirection(np.eye(3).ravel().tolist())
    return image


def _field_of_view(ct: sitk.Image, rows: Sequence[sitk.Image]) -> tuple[np.ndarray, float]:
    """Middle (x, y, z) and side, mm, of the cube that all panels show: all labels, else the body."""
    spacing, last = np.array(ct.GetSpacing()), np.array(ct.GetSize()) - 1
    boxes = [box for row in rows if (box := label_box(row)) is not None]
    if boxes:
        low, high = np.min([box[0] for box in boxes], axis=0), np.max([box[1] for box in boxes], axis=0)
        side = max((high - low + 1) * spacing) + 2 * _MARGIN
    else:
        body = label_box(ct > WINDOW[0]) or ((0, 0, 0), tuple(last))
        low, high = np.array(body)
        side = max(((high - low + 1) * spacing)[:2])
    side = min(side, max((last + 1) * spacing))
    # No more outside of the CT than there has to be.
    room = np.maximum((last + 1) * spacing - side, 0) / 2
    return last * spacing / 2 + np.clip((low + high - last) / 2 * spacing, -room, room), float(side)


def _crossing(ct: sitk.Image, rows: Sequence[sitk.Image]) -> tuple[int, int, int]:
    """Index (x, y, z) where the three slices meet."""
    for wanted in (TUMOR, VESSEL, LIVER):
        for row in rows:
            mask = row == wanted
            box = label_box(mask)
            if box is None:
                continue
            inside = sitk.GetArrayViewFromImage(mask)[tuple(slice(a, b + 1) for a, b in zip(*box, strict=True))[::-1]]
            if wanted == VESSEL:
                counts = (inside.sum(axis=axes, dtype=np.int64) for axes in ((0, 1), (0, 2), (1, 2)))
                point = np.array([int(np.argmax(count)) for count in counts])
            else:
                parts = components(inside, connectivity=3)
                largest = np.argwhere(parts == np.argmax(np.bincount(parts.ravel())[1:]) + 1)[:, ::-1]
                # The voxel nearest to the centroid: that of a crescent lies outside of it.
                offsets = (largest - largest.mean(axis=0)) * ct.GetSpacing()
                point = largest[np.argmin((offsets**2).sum(axis=1))]
            x, y, z = (point + box[0]).tolist()
            return x, y, z
    x, y, z = (n // 2 for n in ct.GetSize())
    return x, y, z


def _draw_slice(axes: Axes, ct: sitk.Image, labels: sitk.Image, view: _View, crossing: tuple[int, int, int]) -> None:
    """One slice of the CT with the liver's outline and vessels and tumours filled, in mm."""
    right, up = view[1]
    through = tuple(slice(None) if axis in view[1] else crossing[axis] for axis in (2, 1, 0))
    hu, values = (sitk.GetArrayViewFromImage(image)[through] for image in (ct, labels))
    dx, dy = ct.GetSpacing()[right], ct.GetSpacing()[up]
    rows, columns = hu.shape
    edges = (-0.5 * dx, (columns - 0.5) * dx, -0.5 * dy, (rows - 0.5) * dy)
    low, high = WINDOW
    axes.imshow(hu, "gray", vmin=low, vmax=high, extent=edges, origin="lower", interpolation="hanning")
    # One row and column more on every side, so that what touches the edge of the CT is closed.
    values = np.pad(values, 1)
    x, y = np.arange(-1, columns + 1) * dx, np.arange(-1, rows + 1) * dy
    for name, mask in (("liver", values != BACKGROUND), ("vessel", values == VESSEL), ("tumor", values == TUMOR)):
        if mask.any():
            if name != "liver":
                axes.contourf(x, y, mask, levels=[0.5, 1.5], colors=[COLORS[name]], alpha=0.3)
            axes.contour(x, y, mask, levels=[0.5], colors=[COLORS[name]], linewidths=0.9)


def _set_view(axes: Axes, view: _View, center: np.ndarray, side: float) -> None:
    """Show the square of the cube that lies in this view, at true proportions, on black."""
    name, (right, up), marks = view
    axes.add_patch(Rectangle((0, 0), 1, 1, transform=axes.transAxes, color="black", zorder=-1))
    axes.set_xlim(center[right] - side / 2, center[right] + side / 2)
    bottom, top = center[up] - side / 2, center[up] + side / 2
    axes.set_ylim((top, bottom) if name == "Axial" else (bottom, top))
    _mark(axes, marks, "white")


def _mark(axes: Axes, marks: str, color: str) -> None:
    """Which side of the patient is at the left, right, top and bottom edge."""
    places = ((0.02, 0.5, "left", "center"), (0.98, 0.5, "right", "center"), (0.5, 0.98, "center", "top"),
              (0.5, 0.02, "center", "bottom"))  # fmt: skip
    for mark, (x, y, across, along) in zip(marks, places, strict=True):
        text = axes.text(x, y, mark, color=color, size=9, ha=across, va=along, transform=axes.transAxes)
        text.set_path_effects([withStroke(linewidth=2, foreground="black" if color == "white" else "white")])


def _scale_bar(axes: Axes, side: float) -> None:
    """A bar of a round number of mm in the lower left corner."""
    length = max(mm for mm in (1, 2, 5, 10, 20, 50, 100, 200) if mm < max(side / 3, 2))
    line = axes.plot([0.04, 0.04 + length / side], [0.04, 0.04], color="white", lw=2, transform=axes.transAxes)
    text = axes.text(0.04, 0.055, f"{length} mm", color="white", size=8, va="bottom", transform=axes.transAxes)
    for artist in (*line, text):
        artist.set_path_effects([withStroke(linewidth=3, foreground="black")])


def _key(rows: dict[str, sitk.Image]) -> list[Patch]:
    """What each colour stands for, with its volume in every row; `liver` is the whole organ."""
    patches = []
    for name, values in (("liver", (LIVER, VESSEL, TUMOR)), ("vessel", (VESSEL,)), ("tumor", (TUMOR,))):
        volumes = []
        for row in rows.values():
            voxels = np.count_nonzero(np.isin(sitk.GetArrayViewFromImage(row), values))
            volume = voxels * np.prod(row.GetSpacing()) / 1000
            volumes.append(f"{volume:.0f} mL" if volume >= 100 else f"{volume:.1f} mL")
        text = volumes[0] if len(rows) == 1 else f"{volumes[0]} (reference {volumes[1]})"
        filled = {"facecolor": "none"} if name == "liver" else {"facecolor": (*COLORS[name], 0.5)}
        patches.append(Patch(edgecolor=COLORS[name], label=f"{name} {text}", **filled))
    return patches


def draw_curves(source: Path, path: Path) -> None:
    """Write a PNG of the loss and of each class's Dice over the epochs.

    Args:
        source: curves.csv of a training: epoch, loss, dice_<class>...; cells are blank where nothing was measured.
        path: of the PNG.

    Raises:
        InputError: `source` cannot be read, lacks columns or epochs, or `path` cannot be written.
    """
    epochs, columns = _read_curves(source)
    figure = Figure(figsize=(1800 / _DPI, 660 / _DPI), dpi=_DPI, layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(epochs, columns.pop("loss"), color="0.25", lw=1.5)
    left.set(title="Training loss", xlabel="epoch", ylabel="loss")
    for name, values in columns.items():
        measured = np.isfinite(values)
        structure = name.removeprefix("dice_")
        right.plot(epochs[measured], values[measured], ".-", color=COLORS.get(structure), lw=1.5, label=structure)
    right.set(title="Validation Dice", xlabel="epoch", ylabel="Dice", ylim=(0, 1))
    if columns:
        right.legend(loc="lower right", frameon=False)
    for axes in (left, right):
        axes.grid(color="0.9")
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png")


def _read_curves(source: Path) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Epochs, and the other columns by name with NaN for blank cells."""
    try:
        with source.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file, restval=""))
    except OSError as error:
        raise InputError(f"{source}: cannot be read ({error.strerror})") from error
    if not rows:
        raise InputError(f"{source}: has no epochs yet; train for one at least")
    if not {"epoch", "loss"} <= set(rows[0]):
        raise InputError(f"{source}: expected the columns epoch, loss and dice_<class>; got {', '.join(rows[0])}")
    try:
        columns = {name: np.array([float(row[name] or "nan") for row in rows]) for name in rows[0]}
    except ValueError as error:
        raise InputError(f"{source}: has a cell that is not a number ({error})") from error
    return columns.pop("epoch"), columns
