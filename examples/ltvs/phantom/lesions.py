"""Lesions of the liver: tumors, and benign ones that look like tumors or vessels; drawn anew for each image."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ltvs.phantom.contrast import Contrast
from ltvs.phantom.fields import Spacing, lumps

Box = tuple[slice, slice, slice]


@dataclass(frozen=True)
class Lesion:
    """A lesion on the voxels of a box.

    Args:
        box: of the volume.
        level: mm to the surface, positive inside.
        hu: of each voxel of the box, were it all lesion.
        edge: width of its border, mm.
        tumor: whether it is one; the others belong to the liver.
    """

    box: Box
    level: Tensor
    hu: Tensor
    edge: float
    tumor: bool

    def blend(self, hu: Tensor) -> None:
        """Paint it over an image; a voxel at the border is part one, part the other."""
        share = (self.level / self.edge + 0.5).clamp(0, 1)
        view = hu[self.box]
        view += share * (self.hu - view)


@dataclass(frozen=True)
class Looks:
    """How lesions may look; lengths in mm, differences in HU.

    Args:
        radius: least and greatest of a tumor; drawn evenly by its logarithm.
        first: the same of the first tumor.
        darker: by which most tumors are darker than the liver around them.
        others: share of the tumors that are as bright as the liver with a rim, or brighter.
        rim: share of the tumors that have one.
        necrosis: share of the tumors that have one.
        nodules: share of the tumors that have them.
        halo: share of the tumors that have one, a wide border as bright as liver.
        calcium: share of the tumors that have it.
        fat: share of the benign lesions that are not bright in which the liver is fatty, not cysts.
        edge: width of a tumor's border.
        steady: whether its mean is as much darker as drawn, whatever else is in it.
    """

    radius: tuple[float, float]
    first: tuple[float, float]
    darker: tuple[float, float]
    others: float
    rim: float
    necrosis: float
    nodules: float
    halo: float
    calcium: float
    fat: float
    edge: tuple[float, float]
    steady: bool


#: As in CTs of many centers.
WIDE = Looks(
    (3, 50), (3, 50), (14, 80), others=0.18, rim=0.4, necrosis=0.5, nodules=0.35, halo=0.25, calcium=0.15, fat=0.3,
    edge=(0.7, 3.5), steady=False,
)  # fmt: skip
#: As in the phantoms of one cohort, whose first tumor is never tiny: a patient of this kind has one that was seen.
COHORT = Looks(
    (4.5, 22), (16, 28), (18, 25), others=0.0, rim=1.0, necrosis=0.8, nodules=0.75, halo=0.0, calcium=0.07, fat=0.0,
    edge=(0.7, 1.5), steady=True,
)  # fmt: skip


def draw_lesions(
    liver: Tensor,
    spacing: Spacing,
    contrast: Contrast,
    rng: np.random.Generator,
    *,
    tumors: int,
    benign: int,
    looks: Looks = WIDE,
) -> list[Lesion]:
    """Draw lesions in a liver, apart from each other; fewer where there is no room.

    Args:
        liver: where it is, (d, h, w), bool.
        spacing: of the voxels, mm along d, h, w.
        contrast: of the image.
        rng: decides number, places, sizes and looks.
        tumors: number of tumors.
        benign: number of cysts, hemangiomas, other nodules and fatty areas.
        looks: of the lesions.
    """
    inside = torch.nonzero(liver.flatten())[:, 0]
    if len(inside) == 0:
        return []
    axes = [torch.arange(n, device=liver.device) * mm for n, mm in zip(liver.shape, spacing, strict=True)]
    taken: list[tuple[np.ndarray, float]] = []
    lesions = []
    for number in range(tumors + benign):
        tumor = number < tumors
        smallest, largest = (looks.first if number == 0 else looks.radius) if tumor else (2.5, 18.0)
        radius = float(np.exp(rng.uniform(np.log(smallest), np.log(largest))))
        center = _free_place(inside, tuple(liver.shape), spacing, radius, taken, rng)
        if center is not None:
            taken.append((center, radius))
            if tumor:
                lesion = _make_tumor(axes, center, radius, contrast, looks, rng)
            else:
                lesion = _make_benign(axes, center, radius, contrast, looks, rng)
            # The liver's surface and the vena cava bound it.
            lesions.append(replace(lesion, level=lesion.level.masked_fill(~liver[lesion.box], -1e3)))
    return lesions


def _free_place(
    inside: Tensor,
    size: tuple[int, ...],
    spacing: Spacing,
    radius: float,
    taken: list[tuple[np.ndarray, float]],
    rng: np.random.Generator,
) -> np.ndarray | None:
    """Return a place in the liver, mm along d, h, w, that is not too near to the others; None if none was found."""
    for _ in range(12):
        voxel = np.unravel_index(int(inside[int(rng.integers(len(inside)))]), size)
        center = np.multiply(voxel, spacing)
        if all(np.linalg.norm(center - other) > 0.9 * (radius + wide) for other, wide in taken):
            return np.asarray(center)
    return None


def _lump(
    axes: Sequence[Tensor], center: np.ndarray, radius: float, lobes: float, rng: np.random.Generator
) -> tuple[Box, Tensor, list[Tensor]]:
    """Return an irregular ball whose surface goes in and out by about `lobes` times its radius, mm, and its voxels."""
    stretch = np.exp(rng.normal(0, 0.14, 3))
    reach = 1.5 * radius + 5
    box, points = [], []
    for axis, middle in zip(axes, center, strict=True):
        near = torch.nonzero((axis - middle).abs() <= reach)[:, 0]
        first, last = int(near[0]), int(near[-1]) + 1
        box.append(slice(first, last))
        points.append(axis[first:last] - middle)
    z, y, x = (offset / float(k) for offset, k in zip(points, stretch, strict=True))
    distance = (z[:, None, None] ** 2 + y[:, None] ** 2 + x**2).sqrt()
    level = radius - distance + lumps(points, lobes * radius, max(1.5 * radius, 6.0), rng)
    d, h, w = box
    return (d, h, w), level, points


def _make_tumor(
    axes: Sequence[Tensor],
    center: np.ndarray,
    radius: float,
    contrast: Contrast,
    looks: Looks,
    rng: np.random.Generator,
) -> Lesion:
    box, level, points = _lump(axes, center, radius, rng.uniform(0.03, 0.16), rng)
    uniform, chance = rng.uniform, rng.random
    kind = chance()
    if kind >= looks.others:  # darker than the liver, like most metastases
        mean, rim = -uniform(*looks.darker), uniform(10, 40) * (chance() < looks.rim)
    elif kind > 0.4 * looks.others:  # as bright as the liver, with a rim
        mean, rim = uniform(-12, 12), uniform(-45, 45)
    else:
        mean, rim = uniform(12, 60), 0.0
    hu = contrast.liver + mean + lumps(points, uniform(1, 9), max(5.0, 0.5 * radius), rng)
    if radius > 6 and chance() < looks.halo:  # tumor that is as bright as the liver around what is darker
        border = uniform(0.1, 0.45) * radius - level + lumps(points, 0.08 * radius, radius, rng)
        hu = hu - uniform(0.5, 1.0) * mean * (border / 2 + 0.5).clamp(0, 1)
    if radius > 8 and chance() < looks.necrosis:  # necrosis in the middle
        core = level - uniform(0.2, 0.55) * radius + lumps(points, 0.15 * radius, radius, rng)
        hu = hu - uniform(5, 32) * (core / 3 + 0.5).clamp(0, 1)
    if rim:
        hu = hu + rim * torch.exp(-(((level - 1.5) / uniform(1.0, 3.0)) ** 2))
    if chance() < looks.nodules:  # nodules that take up contrast
        nodules = lumps(points, 1.0, max(7.0, 0.55 * radius), rng) - uniform(0.8, 1.6)
        hu = hu + uniform(30, 130) * (2 * nodules).clamp(0, 1)
    if chance() < looks.calcium:  # in grains or clumps
        clumps = lumps(points, 1.0, max(8.0, uniform(0.2, 0.6) * radius), rng) - uniform(1.2, 1.8)
        hu = hu + uniform(100, 500) * (4 * clumps).clamp(0, 1)
    inside = hu[level > 0]
    if looks.steady and inside.numel():
        hu = hu + (contrast.liver + mean - float(inside.mean()))
    return Lesion(box, level, hu, float(uniform(*looks.edge)), tumor=True)


def _make_benign(
    axes: Sequence[Tensor],
    center: np.ndarray,
    radius: float,
    contrast: Contrast,
    looks: Looks,
    rng: np.random.Generator,
) -> Lesion:
    bright = rng.random() < 0.4
    box, level, points = _lump(axes, center, radius, rng.uniform(0.01, 0.04) + 0.05 * bright, rng)
    if bright:  # hemangiomas and perfusion nodules, about as bright as vessels
        mean = contrast.blood - rng.uniform(-4, 30)
        return Lesion(box, level, mean + lumps(points, 5.0, 9.0, rng), float(rng.uniform(0.7, 2.5)), tumor=False)
    if rng.random() < looks.fat:  # without a border
        hu = contrast.liver - rng.uniform(10, 45) + lumps(points, 3.0, 9.0, rng)
        return Lesion(box, level, hu, float(rng.uniform(4, 12)), tumor=False)
    mean = rng.uniform(-2, 20)  # cysts
    return Lesion(box, level, mean + lumps(points, 1.0, 9.0, rng), float(rng.uniform(0.7, 1.2)), tumor=False)


def draw_counts(liters: float, rng: np.random.Generator) -> tuple[int, int]:
    """Draw how many tumors and benign lesions lie in some liters of liver: none in 30%, very many cysts in a few."""
    tumors = 0 if rng.random() < 0.3 else max(1, int(rng.poisson(2.5 * min(liters, 1.2))))
    benign = int(rng.poisson(liters * (12.0 if rng.random() < 0.25 else 1.5)))
    return min(tumors, 8), min(benign, 24)


def draw_cohort_counts(rng: np.random.Generator) -> tuple[int, int]:
    """Draw how many tumors and benign lesions a phantom of one cohort has."""
    tumors = int(rng.choice([1, 2, 3, 4, 5], p=[0.3, 0.25, 0.2, 0.15, 0.1]))
    return tumors, int(rng.integers(13, 22))
