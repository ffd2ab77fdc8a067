"""The scanner: blur, slice thickness, noise whose neighbors are correlated, cupping and streaks."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ltvs.phantom.fields import Spacing, Triple


@dataclass(frozen=True)
class Scanner:
    """Properties of a scan.

    Args:
        blur: standard deviation of the point spread in a slice, mm.
        thickness: of the slices, mm.
        noise: standard deviation, HU, at the voxels of the image.
        grain: standard deviation of the filter that correlates the noise, voxels in a slice.
        cupping: HU by which the middle of the body differs from its rim.
        streaks: standard deviation of streaks across the body, HU.
    """

    blur: float
    thickness: float
    noise: float
    grain: float = 0.45
    cupping: float = 0.0
    streaks: float = 0.0

    @classmethod
    def draw(cls, rng: np.random.Generator, noise: tuple[float, float]) -> "Scanner":
        """Draw a scanner: slices of 1 to 6 mm, noise within bounds, a few with streaks."""
        return cls(
            blur=rng.uniform(0.3, 0.9),
            thickness=float(rng.choice([1.0, 1.5, 2.0, 2.5, 3.0, 5.0, 6.0], p=[0.25, 0.2, 0.2, 0.12, 0.1, 0.1, 0.03])),
            noise=float(np.exp(rng.uniform(*np.log(noise)))),
            grain=rng.uniform(0.2, 0.75),
            cupping=rng.uniform(-8, 8) if rng.random() < 0.4 else 0.0,
            streaks=rng.uniform(3, 14) if rng.random() < 0.1 else 0.0,
        )

    def scan(self, hu: Tensor, spacing: Spacing, size: Triple, generator: torch.Generator) -> Tensor:
        """Return the image of a body, (d, h, w) HU, on fewer voxels over the same volume.

        Args:
            hu: the body, (d, h, w), on a grid at least as fine as the image.
            spacing: of the body's grid, mm along d, h, w.
            size: of the image.
            generator: of the CPU; decides the noise.
        """
        depth = hu.shape[0] * spacing[0]
        slices = min(size[0], max(1, round(depth / self.thickness)))
        body = _blurred(hu, self.blur / spacing[1])
        image = F.adaptive_avg_pool3d(body[None, None], (slices, *size[1:]))[0, 0]
        image = image + self.noise * _noise((slices, *size[1:]), self.grain, generator).to(hu.device)
        if self.cupping:
            y, x = (torch.linspace(-1, 1, n, device=hu.device) for n in size[1:])
            image = image + self.cupping * (1 - y[:, None] ** 2 - x**2)
        if self.streaks:
            lines = torch.randn((slices, size[1], 1), generator=generator).to(hu.device)
            image = image + self.streaks * lines
        if slices < size[0]:
            image = F.interpolate(image[None, None], size=size, mode="trilinear", align_corners=False)[0, 0]
        return image


def draw_cohort_noise(pixel: float, rng: np.random.Generator) -> float:
    """Draw the standard deviation of the noise of a phantom of one cohort, HU.

    Measured in a real liver at voxels of 0.74 mm; larger voxels average over more photons.

    Args:
        pixel: size of the voxels in a slice, mm.
        rng: decides it.
    """
    return float(rng.uniform(19, 25) * np.sqrt(0.74 / max(pixel, 0.74)))


def _noise(size: Triple, grain: float, generator: torch.Generator) -> Tensor:
    """Return noise of standard deviation 1 whose neighbors in a slice, and less so between slices, are correlated."""
    white = torch.randn(size, generator=generator)
    across, along = _gauss(grain), _gauss(0.9 * grain)
    filtered = _filtered(_filtered(_filtered(white, across, 2), across, 1), along, 0)
    # Independent values, weighted by w, have a variance of the sum of w squared.
    spread = math.sqrt(float((across**2).sum()) ** 2 * float((along**2).sum()))
    return filtered / spread


def _blurred(hu: Tensor, sigma: float) -> Tensor:
    """Blur every slice by a Gaussian of `sigma` voxels."""
    if sigma < 0.25:
        return hu
    weights = _gauss(sigma)
    return _filtered(_filtered(hu, weights, 2), weights, 1)


def _gauss(sigma: float) -> Tensor:
    reach = max(1, math.ceil(2.5 * sigma))
    at = torch.arange(-reach, reach + 1, dtype=torch.float32)
    weights = torch.exp(-0.5 * (at / max(sigma, 1e-3)) ** 2)
    return weights / weights.sum()


def _filtered(volume: Tensor, weights: Tensor, axis: int) -> Tensor:
    """Convolve by symmetric weights along one axis; the outermost values go on beyond the edge."""
    reach, n = len(weights) // 2, volume.shape[axis]
    result = float(weights[reach]) * volume
    for k in range(1, min(reach, n - 1) + 1):
        weight = float(weights[reach + k])
        for to, source, edge in ((k, 0, 0), (0, k, n - k)):
            result.narrow(axis, to, n - k).add_(volume.narrow(axis, source, n - k), alpha=weight)
            outermost = volume.narrow(axis, 0 if edge == 0 else n - 1, 1)
            result.narrow(axis, edge, k).add_(outermost, alpha=weight)
    return result
