"""Surfaces of a label map in 3D: a translucent liver with its vessels and tumors inside.

Matplotlib's own light source (mplot3d's `shade=True`) was tried: it has no highlights and a low contrast on surfaces
that face the camera, so that vessels look flat and crossings are hard to read.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from jaxtyping import Float, UInt8
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from numpy import ndarray
from scipy.ndimage import gaussian_filter
from skimage.measure import marching_cubes

from ltvs.volume.grids import Grid, bounding_box
from ltvs.volume.labels import BACKGROUND, COLORS, TUMOR, VESSEL
from ltvs.volume.resampling import resample

#: The camera's place, degrees: in front of the patient, slightly above.
ELEVATION, AZIMUTH = 14.0, -84.0
#: Picture elements per pixel along each axis, averaged at the end.
_OVERSAMPLING = 2
#: Vertices of one structure; speckle with more is drawn coarser, so that it costs no more than a clean result.
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
    """Draw liver, vessels and tumors on white, seen from the front of the patient without perspective.

    Args:
        labels: label map along the patient's axes, LPS.
        center: (x, y, z) in mm of the middle of the picture.
        side: mm from one edge of the picture to the other.
        pixels: of the picture, which is square.
    """
    spacing = max(1.0, side / 200)
    organ = surface(labels != BACKGROUND, spacing, sigma=2.0, level=0.5, step=2)
    vessel = _opaque(surface(labels == VESSEL, spacing, sigma=0.7, level=0.3))
    tumor = _opaque(surface(labels == TUMOR, spacing, sigma=1.0, level=0.5))
    colors = (_translucent(organ, COLORS["liver"]), _shaded(vessel, COLORS["vessel"]), _shaded(tumor, COLORS["tumor"]))
    right, up, toward = _camera()
    triangles = np.concatenate([organ.corners, vessel.corners, tumor.corners]) - center
    # From the back to the front, across structures.
    order = np.argsort((triangles @ toward).mean(axis=1))
    projected = triangles[order] @ np.transpose([right, up])

    figure = Figure(figsize=(pixels / 100, pixels / 100), dpi=100 * _OVERSAMPLING)
    canvas = FigureCanvasAgg(figure)
    half = side / 2
    axes = figure.add_axes((0, 0, 1, 1), xlim=(-half, half), ylim=(-half, half))
    axes.set_axis_off()
    axes.add_collection(PolyCollection(projected, facecolors=np.concatenate(colors)[order], linewidths=0))
    canvas.draw()  # type: ignore[no-untyped-call]
    picture = np.asarray(canvas.buffer_rgba())[..., :3]  # type: ignore[no-untyped-call]
    blocks = picture.reshape(pixels, _OVERSAMPLING, pixels, _OVERSAMPLING, 3)
    averaged: UInt8[ndarray, "h w 3"] = blocks.mean(axis=(1, 3)).round().astype(np.uint8)
    return averaged


def surface(mask: sitk.Image, spacing: float, *, sigma: float, level: float, step: int = 1) -> Surface:
    """Return the surface of a mask, slightly smoothed.

    Args:
        mask: above 0 inside, along the patient's axes.
        spacing: mm, of the isotropic grid that it is found on.
        sigma: mm, of the smoothing.
        level: share of a point's surroundings, 0 to 1, that is inside at the surface; below 0.5 keeps thin parts.
        step: voxels of the grid per triangle.
    """
    box = bounding_box(mask)
    if box is None:
        return Surface(np.zeros((0, 3, 3)), np.zeros((0, 3)))
    own = np.array(mask.GetSpacing())
    margin = 4 * sigma + 2 * step * spacing
    low, high = ((np.array(corner) + shift) * own for corner, shift in zip(box, (-0.5, 0.5), strict=True))
    first = low + mask.GetOrigin() - margin
    x, y, z = (int(n) + 1 for n in np.ceil((high - low + 2 * margin) / spacing))
    grid = Grid((x, y, z), (spacing,) * 3, tuple(first.tolist()), mask.GetDirection())
    field = gaussian_filter(sitk.GetArrayFromImage(resample(mask, grid)), sigma / spacing)
    while sum(np.count_nonzero(np.diff(field > level, axis=axis)) for axis in range(3)) > _MOST_VERTICES * step**2:
        field, spacing = gaussian_filter(field, 1.0)[::2, ::2, ::2], 2 * spacing
    points, faces, normals, _ = marching_cubes(
        field, min(level, float(field.max()) / 2), spacing=(spacing,) * 3, step_size=step
    )
    corners = points[:, ::-1][faces] + first
    outwards = normals[:, ::-1][faces].mean(axis=1)
    return Surface(corners, outwards / np.maximum(np.linalg.norm(outwards, axis=1, keepdims=True), 1e-6))


def _camera() -> tuple[Float[ndarray, "3"], Float[ndarray, "3"], Float[ndarray, "3"]]:
    """Return unit vectors to the right and the top of the picture and toward the camera, (x, y, z)."""
    (sin_e, sin_a), (cos_e, cos_a) = np.sin(angles := np.radians((ELEVATION, AZIMUTH))), np.cos(angles)
    toward = np.array([cos_e * cos_a, cos_e * sin_a, sin_e])
    right = np.array([-sin_a, cos_a, 0.0])
    return right, np.cross(toward, right), toward


def _opaque(part: Surface) -> Surface:
    """Return the triangles that face the camera, slightly enlarged: what is behind shines through their soft edges."""
    facing = part.normals @ _camera()[2] > -0.2
    corners = part.corners[facing]
    middle = corners.mean(axis=1, keepdims=True)
    return Surface(middle + 1.15 * (corners - middle), part.normals[facing])


def _shaded(part: Surface, color: Sequence[float]) -> Float[ndarray, "n 4"]:
    """Return opaque colors, lit by a lamp above the camera's left shoulder, with a highlight."""
    view = _camera()[2]
    light = np.add(view, (-0.5, 0.0, 0.6))
    light /= np.linalg.norm(light)
    half = (view + light) / np.linalg.norm(view + light)
    diffuse = np.clip(part.normals @ light, 0, None)[:, None]
    highlight = (np.clip(part.normals @ half, 0, None) ** 30)[:, None]
    rgb = np.clip(np.array(color) * (0.35 + 0.7 * diffuse) + 0.25 * highlight, 0, 1)
    return np.hstack([rgb, np.ones((len(rgb), 1))])


def _translucent(part: Surface, color: Sequence[float]) -> Float[ndarray, "n 4"]:
    """Return colors of glass: clear where it faces the camera, denser toward its outline."""
    facing = np.abs(part.normals @ _camera()[2])
    rgba = _shaded(part, color)
    rgba[:, :3] = (rgba[:, :3] + color) / 2  # the far side is not dark: light passes through
    rgba[:, 3] = 0.08 + 0.42 * (1 - facing) ** 2
    return rgba
