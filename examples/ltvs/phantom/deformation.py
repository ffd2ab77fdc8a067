"""Geometry of an image: where in a map of tissues each of its voxels lies."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy import ndarray
from torch import Tensor
from torch.nn import functional as F

from ltvs.phantom.fields import Spacing

#: Distance of the points at which positions are computed before they are interpolated, mm.
_KNOTS = 8.0


@dataclass(frozen=True)
class Deformation:
    """A random change of a patient's shape and posture.

    Args:
        matrix: rotation, scale and shear, (3, 3), applied to offsets along z, y, x.
        shifts: displacement of knots over the image, (3, d, h, w) mm; None for none.
    """

    matrix: ndarray
    shifts: ndarray | None

    @classmethod
    def draw(cls, size_mm: Spacing, rng: np.random.Generator) -> "Deformation":
        """Draw a deformation of an image of some size, mm along z, y, x.

        Scale by about a fifth at most, turn by up to 15 degrees about the body's axis and by less about the others,
        shear a little, and move parts of 30 to 80 mm by about 2 to 12 mm.
        """
        scale = rng.uniform(0.83, 1.2) * np.exp(rng.normal(0, 0.05, 3))
        turn = _rotation(0, rng.uniform(-15, 15)) @ _rotation(1, rng.normal(0, 4)) @ _rotation(2, rng.normal(0, 4))
        shear = np.eye(3) + np.triu(rng.normal(0, 0.05, (3, 3)), 1)
        shifts = None
        if rng.random() < 0.85:
            length, amplitude = rng.uniform(30, 80), rng.uniform(2, 12)
            # Knots much closer than their shift would fold the body.
            amplitude = min(amplitude, 0.15 * length)
            knots = [max(2, round(mm / length) + 2) for mm in size_mm]
            shifts = rng.normal(0, 0.6 * amplitude, (3, *knots)).astype(np.float32)
        return cls(turn @ shear @ np.diag(1 / scale), shifts)

    def knots(self, extent: Spacing, center: ndarray, device: torch.device) -> Tensor:
        """Return where points about 8 mm apart in an image lie, (3, d, h, w): z, y, x in mm.

        The first and the last lie on the centers of the outermost voxels; between them positions are interpolated.

        Args:
            extent: from the first to the last, mm along d, h, w.
            center: of the image, z, y, x in mm.
            device: of the result.
        """
        counts = [max(2, round(mm / _KNOTS) + 1) for mm in extent]
        axes = [torch.linspace(-mm / 2, mm / 2, n, device=device) for mm, n in zip(extent, counts, strict=True)]
        offsets = torch.stack(torch.meshgrid(*axes, indexing="ij")).flatten(1)
        where = (torch.as_tensor(self.matrix, dtype=torch.float32, device=device) @ offsets).view(3, *counts)
        if self.shifts is not None:
            shifts = torch.as_tensor(self.shifts, device=device)[None]
            where = where + F.interpolate(shifts, size=counts, mode="trilinear", align_corners=True)[0]
        return where + torch.as_tensor(center, dtype=torch.float32, device=device)[:, None, None, None]


#: No change.
STILL = Deformation(np.eye(3), None)


def _rotation(axis: int, degrees: float) -> ndarray:
    """Return the rotation about one of z, y, x."""
    cos, sin = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    matrix = np.eye(3)
    a, b = (i for i in range(3) if i != axis)
    matrix[a, a], matrix[b, b], matrix[a, b], matrix[b, a] = cos, cos, -sin, sin
    return matrix
