"""Patches of prepared cases, which the networks are trained on."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from math import prod

import numpy as np
import torch
from jaxtyping import Float, Int16, UInt8
from numpy import ndarray
from torch import Tensor
from torch.utils.data import Dataset

from ltvs.dataset.arrays import PreparedCase
from ltvs.dataset.layout import PreparedSet
from ltvs.model.stages import Stage
from ltvs.phantom.maps import open_maps
from ltvs.phantom.parts import Part
from ltvs.phantom.scenes import part_of_liver, whole_slices
from ltvs.runtime.errors import InputError
from ltvs.training.augmentation import (
    DEFORMED,
    Box,
    Triple,
    box_of,
    change_intensities,
    deform,
    draw_sources,
    is_inside,
    jitter_region,
    rotate_patch,
)
from ltvs.training.step import Sample
from ltvs.volume.labels import LIVER, TUMOR


def patch_slices(size: Triple, patch: Triple, overlap: Triple) -> list[Box]:
    """Return patches that cover a volume, each sharing `overlap` voxels with the next; the last is moved back to fit.

    Args:
        size: of the volume, (d, h, w) voxels.
        patch: of a patch, (d, h, w) voxels; cut to the volume where that is smaller.
        overlap: shared by neighbors along (d, h, w), voxels.
    """
    return list(product(*_along_axes(size, patch, overlap)))


def patch_around(voxel: Sequence[int], size: Triple, patch: Triple) -> Box:
    """Return the patch inside a volume whose center is nearest to a voxel; all (d, h, w)."""
    fitting = [min(n, p) for n, p in zip(size, patch, strict=True)]
    starts = [min(max(0, int(i) - p // 2), n - p) for i, n, p in zip(voxel, size, fitting, strict=True)]
    d, h, w = (slice(start, start + p) for start, p in zip(starts, fitting, strict=True))
    return d, h, w


@dataclass(frozen=True)
class Sampling:
    """Settings by which patches are cut from cases and varied at random.

    Args:
        patch: (d, h, w) voxels; smaller cases are padded at the end with background.
        overlap: (d, h, w) voxels shared by neighboring patches.
        rotation: largest angle in degrees, to either side.
        jitter: mm by which the surface of the liver that stage 2 sees is moved at most.
        foreground: share of the samples whose patch, instead of its own place, lies around a voxel of a class drawn
            evenly from the foreground classes of its case.
        seed: of everything random.
        augment: whether scale, shape and intensities are varied as well.
    """

    patch: Triple
    overlap: Triple
    rotation: float = 0.0
    jitter: float = 0.0
    foreground: float = 0.0
    seed: int = 0
    augment: bool = False


class PatchDataset(Dataset[Sample]):
    """Every overlapping patch of the named cases, rotated about the body axis by a random angle.

    Indexed by `(epoch, index)`: seed, epoch and index alone decide all that is random about a sample, so that worker
    processes, devices and interrupted runs cannot change it. Index `len(self) + i` is patch `i` with new randomness.

    Args:
        data: the prepared set.
        stage: 1 or 2.
        names: cases to draw from.
        sampling: how patches are cut and varied.

    Raises:
        InputError: a case is missing or damaged; so does indexing.
    """

    def __init__(self, data: PreparedSet, stage: Stage, names: Sequence[str], sampling: Sampling) -> None:
        self.data = data
        self.view = data.preparation.view(stage)
        self.names = tuple(names)
        self.sampling = sampling
        sizes = [data.case(stage, name).image.shape for name in names]
        counts = [prod(map(len, _along_axes(size, sampling.patch, sampling.overlap))) for size in sizes]
        self.ends = np.cumsum(counts, dtype=int)

    def __len__(self) -> int:
        return int(self.ends[-1]) if len(self.ends) else 0

    def __getitem__(self, key: tuple[int, int]) -> Sample:
        epoch, index = key
        rng = np.random.default_rng((self.sampling.seed, epoch, index))
        name, case, where = self._choose(index % len(self), rng)
        if self.sampling.augment and rng.random() < DEFORMED:
            moved, classes = self._deformed(name, case, where, rng)
        else:
            hu, labels = self._crop(name, case, where)
            image, target = (_padded(array, self.sampling.patch) for array in self._see(hu, labels, case, rng))
            moved, classes = rotate_patch(torch.from_numpy(image), torch.from_numpy(target), self._angle(rng))
        return Sample(moved[None], classes[None], name)

    def place(self, index: int) -> tuple[str, Box]:
        """Return the case and the place of patch `index` of the overlapping ones."""
        name, case, number = self._case_of(index)
        return name, self._own_place(case, number)

    def _choose(self, index: int, rng: np.random.Generator) -> tuple[str, PreparedCase, Box]:
        """Return a case and the place of a patch in it: its own, or around a voxel of the foreground."""
        name, case, number = self._case_of(index)
        if self.sampling.foreground and rng.random() < self.sampling.foreground:
            classes = [places for places in case.places if len(places)]
            if classes:
                places = classes[rng.integers(len(classes))]
                voxel = places[rng.integers(len(places))]
                return name, case, patch_around(voxel, case.image.shape, self.sampling.patch)
        return name, case, self._own_place(case, number)

    def _crop(
        self, name: str, case: PreparedCase, where: Box
    ) -> tuple[Int16[ndarray, "d h w"], UInt8[ndarray, "d h w"]]:
        """Read HU and labels of a patch.

        Raises:
            InputError: there are voxels that preparation does not write: files were damaged or mixed up since.
        """
        hu, labels = np.array(case.image[where]), np.array(case.labels[where])
        low, high = self.data.preparation.window
        folder = self.data.folder / f"stage{self.view.stage}" / name
        if labels.max() > TUMOR:
            raise InputError(f"{folder}: expected labels 0 to {TUMOR}, got {labels.max()}; prepare the case again")
        if hu.min() < low or hu.max() > high:
            raise InputError(
                f"{folder}: expected {low:g} to {high:g} HU, got {hu.min()} to {hu.max()}; prepare the case again"
            )
        return hu, labels

    def _deformed(
        self, name: str, case: PreparedCase, where: Box, rng: np.random.Generator
    ) -> tuple[Float[Tensor, "d h w"], UInt8[Tensor, "d h w"]]:
        """Return what the network sees of a patch that is turned, scaled and bent, and what it is to find.

        The patch is filled from the case around its place; only beyond the case are 0 and background.
        """
        sources = draw_sources(self.sampling.patch, where, case.grid.spacing[::-1], self._angle(rng), rng)
        box = box_of(sources, case.image.shape)
        hu, labels = self._crop(name, case, box)
        # Stage 1 does not tell labels apart: fewer are interpolated.
        labels = self.view.target(labels) if self.view.stage == 1 else labels
        image, target = self._see(*deform(hu, labels, sources, box), case, rng)
        inside = is_inside(sources, case.image.shape)
        return torch.from_numpy(image) * inside, torch.from_numpy(target) * inside

    def _see(
        self, hu: Int16[ndarray, "d h w"], labels: UInt8[ndarray, "d h w"], case: PreparedCase, rng: np.random.Generator
    ) -> tuple[Float[ndarray, "d h w"], UInt8[ndarray, "d h w"]]:
        """Return what the network sees, in stage 2 with the surface of the liver moved, and what it is to find."""
        spacing, region, target = case.grid.spacing[::-1], self.view.region(labels), self.view.target(labels)
        if region is not None:
            region = jitter_region(region, spacing, self.sampling.jitter, rng)
            # What stage 1 leaves out, stage 2 cannot find.
            target = np.where(region, target, np.uint8(0))
        if self.sampling.augment:
            stays = None if region is None else case.hu_offset
            hu = change_intensities(hu, spacing, self.data.preparation.window, stays, rng)
        return self.view.input(hu, region, case.hu_offset), target

    def _angle(self, rng: np.random.Generator) -> float:
        """Draw the angle of the rotation, radians."""
        return float(np.deg2rad(rng.uniform(-self.sampling.rotation, self.sampling.rotation)))

    def _case_of(self, index: int) -> tuple[str, PreparedCase, int]:
        """Return the case that has patch `index`, and the number of the patch in it."""
        at = int(np.searchsorted(self.ends, index, side="right"))
        name = self.names[at]
        return name, self.data.case(self.view.stage, name), index - int(self.ends[at - 1] if at else 0)

    def _own_place(self, case: PreparedCase, number: int) -> Box:
        """Return `patch_slices(...)[number]`."""
        d, h, w = _along_axes(case.image.shape, self.sampling.patch, self.sampling.overlap)
        i, j, k = np.unravel_index(number, (len(d), len(h), len(w)))
        return d[i], h[j], w[k]


@dataclass(frozen=True)
class Rendered:
    """Settings of patches that are rendered on the fly.

    Args:
        patch: (d, h, w) voxels.
        count: patches of each patient in an epoch.
        jitter: as in `Sampling`.
        seed: of everything random.
        fixed: parts of the scenes that do not vary.
    """

    patch: Triple
    count: int
    jitter: float = 0.0
    seed: int = 0
    fixed: tuple[Part, ...] = ()


class RenderedDataset(Dataset[Sample]):
    """Patches of synthetic patients, no two alike, rendered from maps of tissues.

    Indexed by `(epoch, index)`, as `PatchDataset` is.

    Args:
        data: the prepared set that holds the maps.
        stage: 1 or 2.
        settings: how patches are made.
        device: where they are rendered.

    Raises:
        InputError: there are no maps, or one is damaged; so does indexing.
    """

    def __init__(self, data: PreparedSet, stage: Stage, settings: Rendered, device: torch.device | None = None) -> None:
        self.view = data.preparation.view(stage)
        self.folders = data.maps()
        self.settings = settings
        self.device = torch.device("cpu") if device is None else device
        if not self.folders:
            raise InputError(f"{data.folder}: holds no maps of tissues to render; prepare it again with --maps")
        for folder in self.folders:
            open_maps(folder)

    def __len__(self) -> int:
        return len(self.folders) * self.settings.count

    def __getitem__(self, key: tuple[int, int]) -> Sample:
        epoch, index = key
        rng = np.random.default_rng((self.settings.seed, epoch, index))
        folder = self.folders[index % len(self) // self.settings.count]
        patient, of_stage, patch = open_maps(folder), self.view.preparation, self.settings.patch
        if self.view.stage == 1:
            grid = of_stage.stage1
            size = (patch, grid.pixels, grid.slice_spacing)
            scene = whole_slices(patient, *size, rng, self.device, self.settings.fixed)
            image = self.view.input(scene.hu, None, self.view.hu_offset(scene.hu, None))
            return _sample(image, self.view.target(scene.labels), folder.name)
        grid = of_stage.stage2
        size = (patch, grid.pixels, grid.slice_spacing)
        scene = part_of_liver(patient, *size, of_stage.margin, rng, self.device, self.settings.fixed)
        region = jitter_region(scene.labels > 0, scene.spacing, rng.uniform(0, self.settings.jitter), rng)
        # The patch stands for a whole liver, whose median no lesion decides, and is not known to the last HU.
        plain = scene.labels == LIVER
        offset = self.view.hu_offset(scene.hu, plain if plain.any() else region) + rng.normal(0, 3)
        target = np.where(region, self.view.target(scene.labels), np.uint8(0))
        return _sample(self.view.input(scene.hu, region, offset), target, folder.name)


def _sample(image: ndarray, target: ndarray, name: str) -> Sample:
    return Sample(torch.from_numpy(image)[None], torch.from_numpy(target)[None], name)


def _padded(array: ndarray, patch: Triple) -> ndarray:
    """Return an array padded with 0 at the end to the size of a patch."""
    padding = [(0, p - n) for p, n in zip(patch, array.shape, strict=True)]
    return np.pad(array, padding) if any(after for _, after in padding) else array


def _along_axes(size: Triple, patch: Triple, overlap: Triple) -> tuple[list[slice], list[slice], list[slice]]:
    """Return the ranges of the patches along each axis."""
    from monai.data.utils import dense_patch_slices

    d, h, w = (
        [where for (where,) in dense_patch_slices((n,), (min(n, p),), (max(1, p - o),))]
        for n, p, o in zip(size, patch, overlap, strict=True)
    )
    return d, h, w
