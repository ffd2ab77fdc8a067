"""Surfaces of a label map in 3D: a liver like glass, with its vessels and tumors inside."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from jaxtyping import Float, UInt8
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from mpl_toolkits.mplot3d import Axes3D
from mpl_toolkits.mplot3d.art3d import Poly3DCollection
from numpy import ndarray
from scipy.ndimage import gaussian_filter
from skimage.measure import marching_cubes

from ltvs.volume.grids import bounding_box
from ltvs.volume.labels import BACKGROUND, COLORS, TUMOR, VESSEL

#: Where the camera stands, in degrees: in front of the patient, a little above.
ELEVATION, AZIMUTH = 14.0, -84.0
#: Picture elements per pixel along each axis, averaged at the end.
_OVERSAMPLING = 2
#: Half of the view in mplot3d's own units where what is as long as its cubic axes is as long as the picture.
_HALF_VIEW = 1.8294640721620434 * 25 / 24 / 3**0.5 / 10 / 2
#: Vertices of one structure; speckle that has more is drawn coarser, so that it costs no more than a clean result.
_MOST_VERTICES = 150_000


@dataclass(frozen=True)
class Surface:
    """Triangles of one structure.

    Args:
        corners: (triangles, 3, 3), three points (x, y, z) each, mm.
        normals: (triangles, 3), unit vectors that point outwards.
    """

    corners: Float[ndarray, "n 3 3"]
    normals: Float[ndarray, "n 3"]


def render(
    labels: sitk.Image, center: Sequence[float] | Float[ndarray, "3"], side: float, pixels: int
) -> UInt8[ndarray, "pixels pixels 3"]:
    """Liver, vessels and tumors in front of white, seen from the front of the patient.

    Args:
        labels: label map along the patient's axes, LPS.
        center: (x, y, z) in mm of what is in the middle of the picture.
        side: mm from one edge of the picture to the other.
        pixels: of the picture, square.
    """
    figure = Figure(figsize=(pixels / 100, pixels / 100), dpi=100 * _OVERSAMPLING)
    canvas = FigureCanvasAgg(figure)
    axes = Axes3D(figure, (0, 0, 1, 1))
    figure.add_axes(axes)
    axes.set_axis_off()
    axes.set_proj_type("ortho")
    axes.view_init(ELEVATION, AZIMUTH)
    axes.set(
        **{f"{name}lim": (middle - side / 2, middle + side / 2) for name, middle in zip("xyz", center, strict=True)}
    )
    axes.set_box_aspect((1, 1, 1))
    axes.viewLim.set_points(np.array([[-_HALF_VIEW, -_HALF_VIEW], [_HALF_VIEW, _HALF_VIEW]]))

    spacing = max(1.0, side / 200)
    organ = surface(labels != BACKGROUND, spacing, sigma=2.0, level=0.5, step=2)
    vessel = _opaque(surface(labels == VESSEL, spacing, sigma=0.7, level=0.3))
    tumor = _opaque(surface(labels == TUMOR, spacing, sigma=1.0, level=0.5))
    parts = [
        (organ, _glass(organ, COLORS["liver"])),
        (vessel, _shaded(vessel, COLORS["vessel"])),
        (tumor, _shaded(tumor, COLORS["tumor"])),
    ]
    # One collection: triangles are drawn from the back to the front, which has to hold across structures.
    triangles = np.concatenate([part.corners for part, _ in parts])
    if len(triangles):
        colors = np.concatenate([rgba for _, rgba in parts])
        axes.add_collection3d(Poly3DCollection(triangles, facecolors=colors, linewidths=0))
    canvas.draw()  # type: ignore[no-untyped-call]
    picture = np.asarray(canvas.buffer_rgba())[..., :3]  # type: ignore[no-untyped-call]
    blocks = picture.reshape(pixels, _OVERSAMPLING, pixels, _OVERSAMPLING, 3)
    averaged: UInt8[ndarray, "h w 3"] = blocks.mean(axis=(1, 3)).round().astype(np.uint8)
    return averaged


def surface(mask: sitk.Image, spacing: float, *, sigma: float, level: float, step: int = 1) -> Surface:
    """The surface of a mask, lightly smoothed.

    Args:
        mask: above 0 inside, along the patient's axes.
        spacing: mm, of the isotropic grid that it is found on.
        sigma: mm, of the smoothing.
        level: 0 to 1: how much of its surroundings has to be inside for a point to be; below 0.5 keeps thin parts.
        step: voxels of the grid per triangle.
    """
    box = bounding_box(mask)
    if box is None:
        return Surface(np.zeros((0, 3, 3)), np.zeros((0, 3)))
    own = np.array(mask.GetSpacing())
    margin = 4 * sigma + 2 * step * spacing
    low, high = ((np.array(corner) + shift) * own for corner, shift in zip(box, (-0.5, 0.5), strict=True))
    first = low + mask.GetOrigin() - margin
    size = np.ceil((high - low + 2 * margin) / spacing).astype(int) + 1
    grid = (size.tolist(), sitk.Transform(), sitk.sitkLinear, first.tolist(), [spacing] * 3, mask.GetDirection())
    field = gaussian_filter(sitk.GetArrayFromImage(sitk.Resample(mask, *grid, 0.0, sitk.sitkFloat32)), sigma / spacing)
    while sum(np.count_nonzero(np.diff(field > level, axis=axis)) for axis in range(3)) > _MOST_VERTICES * step**2:
        field, spacing = gaussian_filter(field, 1.0)[::2, ::2, ::2], 2 * spacing
    points, faces, normals, _ = marching_cubes(
        field, min(level, float(field.max()) / 2), spacing=(spacing,) * 3, step_size=step
    )
    corners = points[:, ::-1][faces] + first
    outwards = normals[:, ::-1][faces].mean(axis=1)
    return Surface(corners, outwards / np.maximum(np.linalg.norm(outwards, axis=1, keepdims=True), 1e-6))


def _opaque(part: Surface) -> Surface:
    """The triangles that face the camera, a little larger: through their soft edges shines what is behind them."""
    facing = part.normals @ _toward_camera() > -0.2
    corners = part.corners[facing]
    middle = corners.mean(axis=1, keepdims=True)
    return Surface(middle + 1.15 * (corners - middle), part.normals[facing])


def _toward_camera() -> Float[ndarray, "3"]:
    elevation, azimuth = np.radians((ELEVATION, AZIMUTH))
    return np.array(
        [np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)], dtype=float
    )


def _shaded(part: Surface, color: Sequence[float]) -> Float[ndarray, "n 4"]:
    """Opaque, lit by a lamp above the camera's left shoulder, with a highlight."""
    view = _toward_camera()
    light = np.add(view, (-0.5, 0.0, 0.6))
    light /= np.linalg.norm(light)
    half = (view + light) / np.linalg.norm(view + light)
    diffuse = np.clip(part.normals @ light, 0, None)[:, None]
    highlight = (np.clip(part.normals @ half, 0, None) ** 30)[:, None]
    rgb = np.clip(np.array(color) * (0.35 + 0.7 * diffuse) + 0.25 * highlight, 0, 1)
    return np.hstack([rgb, np.ones((len(rgb), 1))])


def _glass(part: Surface, color: Sequence[float]) -> Float[ndarray, "n 4"]:
    """Clear where it is seen face on, denser toward its outline."""
    facing = np.abs(part.normals @ _toward_camera())
    rgba = _shaded(part, color)
    rgba[:, :3] = (rgba[:, :3] + color) / 2  # the far side is not dark: light passes through
    rgba[:, 3] = 0.08 + 0.42 * (1 - facing) ** 2
    return rgba
