"""Slices of a CT with labels over them, in radiological convention."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from jaxtyping import Float, Int, UInt8
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from numpy import ndarray
from skimage.measure import label as components

from ltvs.volume.grids import bounding_box
from ltvs.volume.labels import COLORS, LIVER, TUMOR, VESSEL, Structure, structure_mask

#: HU shown as black and as white.
WINDOW = (-160.0, 240.0)

#: mm: the margin around the labels, and the smallest field of view.
_MARGIN, _LEAST = 12.0, 100.0

#: Center (x, y, z) and side of a cube, mm.
FieldOfView = tuple[Float[ndarray, "3"], float]


@dataclass(frozen=True)
class View:
    """A direction in which a volume is shown.

    Args:
        name: heading of its column.
        axes: indices of the axes, of x, y, z, across and along the picture.
        downwards: the second of them runs down the picture.
        marks: sides of the patient at the left, right, top and bottom edge.
    """

    name: str
    axes: tuple[int, int]
    downwards: bool
    marks: str


VIEWS = (
    View("Axial", (0, 1), True, "RLAP"),
    View("Coronal", (0, 2), False, "RLSI"),
    View("Sagittal", (1, 2), False, "APSI"),
)


def upright(image: sitk.Image) -> sitk.Image:
    """Reorder the voxels along the patient's axes, LPS, and drop their place: the origin is 0, nothing is oblique."""
    image = sitk.DICOMOrient(image, "LPS")
    image.SetOrigin((0.0, 0.0, 0.0))
    image.SetDirection(np.eye(3).ravel().tolist())
    return image


def field_of_view(ct: sitk.Image, labels: Sequence[sitk.Image]) -> FieldOfView:
    """Return the cube that every view shows: around all labels, or the body if there are none.

    Args:
        ct: HU, upright.
        labels: label maps on its grid.
    """
    spacing, last = np.array(ct.GetSpacing()), np.array(ct.GetSize()) - 1
    boxes = [box for image in labels if (box := bounding_box(image)) is not None]
    if boxes:
        low, high = np.min([box[0] for box in boxes], axis=0), np.max([box[1] for box in boxes], axis=0)
        side = max(((high - low + 1) * spacing).max() + 2 * _MARGIN, _LEAST)
    else:
        low, high = np.array(bounding_box(ct > WINDOW[0]) or (np.zeros(3), last))
        side = ((high - low + 1) * spacing)[:2].max()
    side = min(side, ((last + 1) * spacing).max())
    # The cube extends beyond the CT no more than it has to.
    room = np.maximum((last + 1) * spacing - side, 0) / 2
    return last * spacing / 2 + np.clip((low + high - last) * spacing / 2, -room, room), float(side)


def find_crossing(labels: Sequence[sitk.Image]) -> tuple[int, int, int]:
    """Return the index (x, y, z) at which the slices to show cross.

    This is the middle of the largest tumor; else the slices with most vessel; else the middle of the liver; else that
    of the volume.

    Args:
        labels: label maps on one upright grid; the first that has the structure decides.
    """
    for structure in (TUMOR, VESSEL, LIVER):
        for image in labels:
            mask = image == structure
            box = bounding_box(mask)
            if box is None:
                continue
            inside = sitk.GetArrayViewFromImage(mask)[tuple(slice(a, b + 1) for a, b in zip(*box, strict=True))[::-1]]
            point = _fullest_slices(inside) if structure == VESSEL else _middle_of_largest(inside)
            x, y, z = (box[0] + point).tolist()
            return x, y, z
    x, y, z = (n // 2 for n in labels[0].GetSize())
    return x, y, z


def _fullest_slices(mask: UInt8[ndarray, "d h w"]) -> Int[ndarray, "3"]:
    """Return the slice with most of a mask along each of x, y, z."""
    counts = [np.count_nonzero(mask, axis=axes) for axes in ((0, 1), (0, 2), (1, 2))]
    return np.array([count.argmax() for count in counts])


def _middle_of_largest(mask: UInt8[ndarray, "d h w"]) -> Int[ndarray, "3"]:
    """Return the index (x, y, z) of a voxel in the middle of a mask's largest component, inside even a crescent."""
    parts = components(mask, connectivity=3)
    inside = parts == np.bincount(parts.ravel())[1:].argmax() + 1
    index = []
    while inside.ndim:
        # The slice that halves the part, then the row that halves the slice, then the voxel that halves the row.
        volumes = np.count_nonzero(inside, axis=tuple(range(1, inside.ndim)))
        index.append(int(np.searchsorted(np.cumsum(volumes), volumes.sum() / 2)))
        inside = inside[index[-1]]
    return np.array(index[::-1])


def draw_slice(
    axes: Axes, ct: sitk.Image, labels: sitk.Image, view: View, index: tuple[int, int, int], field: FieldOfView
) -> None:
    """Draw one slice of the CT in gray, in mm, with the outline of the liver, and vessels and tumors filled.

    Args:
        axes: to draw on.
        ct: HU, upright.
        labels: on the same grid.
        view: direction of the slice.
        index: (x, y, z) of a voxel in the slice.
        field: the part to show, on black.
    """
    through = tuple(slice(None) if axis in view.axes else index[axis] for axis in (2, 1, 0))
    hu, values = (sitk.GetArrayViewFromImage(image)[through] for image in (ct, labels))
    (rows, columns), (dx, dy) = hu.shape, (ct.GetSpacing()[axis] for axis in view.axes)
    edges = (-0.5 * dx, (columns - 0.5) * dx, -0.5 * dy, (rows - 0.5) * dy)
    low, high = WINDOW
    axes.imshow(hu, "gray", vmin=low, vmax=high, extent=edges, origin="lower", interpolation="hanning")
    # One voxel more on every side closes the outlines of labels that touch the edge of the CT.
    values = np.pad(values, 1)
    x, y = np.arange(-1, columns + 1) * dx, np.arange(-1, rows + 1) * dy
    structures: tuple[Structure, ...] = ("liver", "vessel", "tumor")  # the last above the others
    for name in structures:
        mask = structure_mask(values, name)
        if mask.any():
            if name != "liver":
                axes.contourf(x, y, mask, levels=[0.5, 1.5], colors=[COLORS[name]], alpha=0.3)
            axes.contour(x, y, mask, levels=[0.5], colors=[COLORS[name]], linewidths=0.9)
    center, half = field[0], field[1] / 2
    middle_x, middle_y = (center[axis] for axis in view.axes)
    axes.set_xlim(middle_x - half, middle_x + half)
    axes.set_ylim(middle_y - half, middle_y + half)
    if view.downwards:
        axes.invert_yaxis()
    axes.add_patch(Rectangle((0, 0), 1, 1, transform=axes.transAxes, color="black", zorder=-1))
    mark_edges(axes, view.marks, "white", "black")


def mark_edges(axes: Axes, marks: str, color: str, halo: str) -> None:
    """Write the sides of the patient at the left, right, top and bottom edge."""
    places = ((0.02, 0.5), (0.98, 0.5), (0.5, 0.98), (0.5, 0.02))
    alignments = (("left", "center"), ("right", "center"), ("center", "top"), ("center", "bottom"))
    for mark, (x, y), (across, along) in zip(marks, places, alignments, strict=True):
        text = axes.text(x, y, mark, color=color, size=10, ha=across, va=along, transform=axes.transAxes)
        text.set_path_effects([withStroke(linewidth=2, foreground=halo)])


def draw_scale_bar(axes: Axes, side: float) -> None:
    """Draw a bar of a round length in the lower left corner of a view that is `side` mm wide."""
    mm = max(mm for mm in (1, 2, 5, 10, 20, 50, 100) if mm <= max(side / 3, 1))
    line = axes.plot([0.04, 0.04 + mm / side], [0.04, 0.04], color="white", lw=2, transform=axes.transAxes)
    text = axes.text(0.04, 0.055, f"{mm} mm", color="white", size=9, va="bottom", transform=axes.transAxes)
    for artist in (*line, text):
        artist.set_path_effects([withStroke(linewidth=3, foreground="black")])
