"""Smooth random fields on voxels, as textures and as shapes that are not round."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

Triple = tuple[int, int, int]
Spacing = tuple[float, float, float]


def generator_of(rng: np.random.Generator) -> torch.Generator:
    """Return PyTorch's generator of the CPU, seeded from NumPy's: fast where many numbers are needed.

    On every device an image is made from its numbers, so that a seed means the same image.
    """
    return torch.Generator().manual_seed(int(rng.integers(2**62)))


def smooth_noise(
    size: Triple, spacing: Spacing, length: float, generator: torch.Generator, device: torch.device
) -> Tensor:
    """Return noise that changes over about `length` mm, with a standard deviation near 1: knots, interpolated.

    Args:
        size: (d, h, w).
        spacing: mm along d, h, w.
        length: distance of the knots, mm.
        generator: of the CPU.
        device: of the result.
    """
    knots = [max(2, round(n * mm / length) + 2) for n, mm in zip(size, spacing, strict=True)]
    values = torch.randn(knots, generator=generator).to(device)
    # Linear interpolation of independent knots keeps (2/3)^3 of their variance on average.
    return interpolated(values * 1.5**1.5, size)


def interpolated(knots: Tensor, size: Triple) -> Tensor:
    """Interpolate knots linearly, the outermost of which lie on the outermost voxels: a matrix product per axis.

    That takes a tenth of the time of F.interpolate for one channel on a CPU.

    Args:
        knots: (d, h, w).
        size: of the result.
    """
    z, y, x = (_weights(n, k, knots.device) for n, k in zip(size, knots.shape, strict=True))
    in_slices = y @ (knots @ x.T)
    return (z @ in_slices.flatten(1)).view(size)


def _weights(voxels: int, knots: int, device: torch.device) -> Tensor:
    """Return the weight of each knot in each voxel along one axis, (voxels, knots)."""
    at = torch.linspace(0, knots - 1, voxels, device=device)[:, None]
    return (1 - (at - torch.arange(knots, device=device)).abs()).clamp_(min=0)


def lumps(points: Sequence[Tensor], amplitude: float, length: float, rng: np.random.Generator) -> Tensor:
    """Return a smooth field of standard deviation `amplitude` at the crossings of z, y and x: a sum of waves.

    Args:
        points: z (d,), y (h,) and x (w,), mm.
        amplitude: of the field.
        length: of the waves, mm.
        rng: decides their directions and phases.
    """
    count = 6
    directions = rng.standard_normal((count, 3))
    directions *= 2 * np.pi / length / np.linalg.norm(directions, axis=1, keepdims=True)
    directions *= rng.uniform(0.6, 1.5, (count, 1))
    z, y, x = points
    kz, ky, kx = torch.as_tensor(directions.T, dtype=torch.float32, device=z.device)[..., None]
    phases = torch.as_tensor(rng.uniform(0, 2 * np.pi, (count, 1, 1)), dtype=torch.float32, device=z.device)
    across, along = (ky * y)[:, :, None] + (kx * x)[:, None, :] + phases, kz * z
    slices = torch.cat([along.cos(), along.sin()])
    in_slice = torch.cat([across.sin(), across.cos()]).flatten(1)
    total = torch.einsum("kd,kp->dp", slices, in_slice)
    return amplitude * float(np.sqrt(2 / count)) * total.view(len(z), len(y), len(x))
