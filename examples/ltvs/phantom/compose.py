"""From a map of tissues to an image and its labels: contrasts, texture, lesions and a scanner, drawn for each image."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ltvs.anatomy.tissues import LIVER_TISSUES, LIVER_VESSELS, Tissue, lookup
from ltvs.phantom.contrast import Contrast
from ltvs.phantom.fields import Spacing, Triple, generator_of, smooth_noise
from ltvs.phantom.lesions import Lesion
from ltvs.phantom.scanner import Scanner
from ltvs.volume.labels import BACKGROUND, LIVER, TUMOR, VESSEL


@dataclass(frozen=True)
class Rendering:
    """An image of a map of tissues.

    Args:
        hu: (d, h, w), float32.
        labels: 0 background, 1 liver, 2 vessel, 3 tumor, (d, h, w), uint8.
    """

    hu: Tensor
    labels: Tensor


def render(
    tissue: Tensor,
    spacing: Spacing,
    size: Triple,
    contrast: Contrast,
    lesions: list[Lesion],
    scanner: Scanner,
    rng: np.random.Generator,
) -> Rendering:
    """Render an image.

    Args:
        tissue: map, (d, h, w), uint8, on a grid at least as fine as the image and over the same volume.
        spacing: of the map, mm along d, h, w.
        size: of the image, (d, h, w).
        contrast: of the tissues.
        lesions: on the map's grid.
        scanner: that makes the image.
        rng: decides texture and noise.
    """
    generator = generator_of(rng)
    hu = body_hu(tissue, spacing, contrast, rng, generator)
    for lesion in lesions:
        lesion.blend(hu)
    return Rendering(scanner.scan(hu, spacing, size, generator), image_labels(tissue, lesions, size))


def body_hu(
    tissue: Tensor, spacing: Spacing, contrast: Contrast, rng: np.random.Generator, generator: torch.Generator
) -> Tensor:
    """Return HU of every voxel of a map: each tissue's own, its texture, areas of the liver with more or less fat.

    Args:
        tissue: (d, h, w), uint8.
        spacing: mm along d, h, w.
        contrast: of the tissues.
        rng: decides lengths and strengths.
        generator: decides the texture.
    """
    d, h, w = tissue.shape
    hu = of_tissue(tissue, torch.as_tensor(contrast.hu))
    fine, coarse = rng.uniform(3, 8), rng.uniform(9, 30)
    first, second = (smooth_noise((d, h, w), spacing, length, generator, tissue.device) for length in (fine, coarse))
    hu.addcmul_(of_tissue(tissue, torch.as_tensor(0.7 * contrast.roughness)), first + second)
    if contrast.uneven:
        areas = smooth_noise((d, h, w), spacing, rng.uniform(50, 110), generator, tissue.device)
        change = ((areas - 0.3) / 0.8).clamp_(0, 1) - ((-areas - 0.3) / 2.4).clamp_(0, 1 / 3)
        hu.addcmul_(of_tissue(tissue, torch.as_tensor(lookup({Tissue.LIVER: contrast.uneven}))), change)
    if contrast.sheath:
        near = _along_portal_branches(tissue, spacing, rng.uniform(3, 7))
        hu.addcmul_(of_tissue(tissue, torch.as_tensor(lookup({Tissue.LIVER: -contrast.sheath}))), near)
    return hu


def _along_portal_branches(tissue: Tensor, spacing: Spacing, reach: float) -> Tensor:
    """Return 1 within about `reach` mm of thick branches of the portal vein, less toward thin ones, (d, h, w)."""
    share = (tissue == int(Tissue.PORTAL_VEIN)).float()[None, None]
    for axis, mm in enumerate(spacing):
        # Means along one axis after the other are those of a box.
        wide, pad = [1, 1, 1], [0, 0, 0]
        pad[axis] = min(max(1, round(reach / mm)), (tissue.shape[axis] - 1) // 2)
        wide[axis] = 2 * pad[axis] + 1
        share = F.avg_pool3d(share, wide, stride=1, padding=pad)
    return ((share[0, 0] - 0.05) / 0.2).clamp_(0, 1)


def of_tissue(tissue: Tensor, values: Tensor) -> Tensor:
    """Return the value of each voxel's tissue, (d, h, w)."""
    return values.to(tissue.device).index_select(0, tissue.flatten().int()).view(tissue.shape)


def organ_of(tissue: Tensor) -> Tensor:
    """Return where the liver is, its vessels included, (d, h, w), bool."""
    return of_tissue(tissue, torch.as_tensor(lookup(dict.fromkeys(LIVER_TISSUES, 1.0)) > 0))


def image_labels(tissue: Tensor, lesions: list[Lesion], size: Triple) -> Tensor:
    """Return the label with the largest share of each voxel of an image, (d, h, w), uint8."""
    table = lookup(dict.fromkeys(LIVER_TISSUES, float(LIVER)) | dict.fromkeys(LIVER_VESSELS, float(VESSEL)), BACKGROUND)
    fine = of_tissue(tissue, torch.as_tensor(table.astype(np.uint8)))
    for lesion in lesions:
        view = fine[lesion.box]
        view[(lesion.level > 0) & (view > BACKGROUND)] = TUMOR if lesion.tumor else LIVER
    if tuple(fine.shape) == size:
        return fine
    best = 1 - _share(fine > BACKGROUND, size)
    taken = torch.zeros(size, dtype=torch.uint8, device=tissue.device)
    for label in (LIVER, VESSEL, TUMOR):
        share = _share(fine == label, size)
        taken.masked_fill_(share > best, label)
        best = torch.maximum(best, share)
    return taken


def _share(mask: Tensor, size: Triple) -> Tensor:
    """Return the share of each voxel of an image that a mask fills."""
    if not bool(mask.any()):
        return torch.zeros(size, device=mask.device)
    return F.adaptive_avg_pool3d(mask[None, None].float(), size)[0, 0]
