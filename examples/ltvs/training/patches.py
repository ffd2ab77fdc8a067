"""Patches of prepared cases: what the networks are trained on."""

from collections.abc import Sequence
from itertools import product
from math import prod

import numpy as np
import torch
from jaxtyping import Int16, UInt8
from monai.data.utils import dense_patch_slices
from numpy import ndarray
from torch.utils.data import Dataset

from ltvs.dataset.arrays import PreparedCase
from ltvs.dataset.layout import PreparedSet
from ltvs.model.stages import Stage
from ltvs.runtime.errors import InputError
from ltvs.training.augmentation import jitter_region, rotate_patch
from ltvs.training.step import Sample
from ltvs.volume.labels import TUMOR

Triple = tuple[int, int, int]
Box = tuple[slice, slice, slice]


def patch_slices(size: Triple, patch: Triple, overlap: Triple) -> list[Box]:
    """Patches that cover a volume, each sharing `overlap` voxels with the next; the last is moved back to fit.

    Args:
        size: of the volume, (d, h, w) voxels.
        patch: of a patch, (d, h, w) voxels; cut to the volume where that is smaller.
        overlap: shared by neighbors along (d, h, w), voxels.
    """
    return list(product(*_along_axes(size, patch, overlap)))


def patch_around(voxel: Sequence[int], size: Triple, patch: Triple) -> Box:
    """The patch whose middle is nearest to a voxel of a volume, without leaving the volume; all (d, h, w)."""
    fitting = [min(n, p) for n, p in zip(size, patch, strict=True)]
    starts = [min(max(0, int(i) - p // 2), n - p) for i, n, p in zip(voxel, size, fitting, strict=True)]
    d, h, w = (slice(start, start + p) for start, p in zip(starts, fitting, strict=True))
    return d, h, w


class PatchDataset(Dataset[Sample]):
    """Every overlapping patch of the named cases, turned about the body axis by a random angle.

    Indexed by `(epoch, index)`: seed, epoch and index alone decide all that is random about a sample, so that worker
    processes, devices and interrupted runs cannot change it. Index `len(self) + i` is patch `i` once more, at random
    anew.

    Args:
        data: the prepared set.
        stage: 1 or 2.
        names: cases to draw from.
        patch: (d, h, w) voxels; smaller cases are padded at the end with background.
        overlap: (d, h, w) voxels shared by neighboring patches.
        rotation: largest angle in degrees, to either side.
        jitter: mm by which the surface of the liver that stage 2 sees is moved at most.
        seed: of all that is random.
        foreground: share of the samples whose patch, instead of its own place, lies about a voxel of a class that is
            drawn evenly from those but background that its case has.

    Raises:
        InputError: a case is missing or damaged; so does indexing.
    """

    def __init__(
        self,
        data: PreparedSet,
        stage: Stage,
        names: Sequence[str],
        patch: Triple,
        overlap: Triple,
        rotation: float,
        jitter: float,
        seed: int,
        foreground: float = 0.0,
    ) -> None:
        self.data = data
        self.stage = stage
        self.names = tuple(names)
        self.patch = patch
        self.overlap = overlap
        self.rotation = rotation
        self.jitter = jitter
        self.seed = seed
        self.foreground = foreground
        sizes = [data.case(stage, name).image.shape for name in names]
        counts = [prod(map(len, _along_axes(size, patch, overlap))) for size in sizes]
        self.ends = np.cumsum(counts, dtype=int)

    def __len__(self) -> int:
        return int(self.ends[-1]) if len(self.ends) else 0

    def __getitem__(self, key: tuple[int, int]) -> Sample:
        epoch, index = key
        rng = np.random.default_rng((self.seed, epoch, index))
        name, case, where = self._draw(index % len(self), rng)
        hu, labels = np.array(case.image[where]), np.array(case.labels[where])
        self._check(name, hu, labels)
        view = self.data.preparation.view(self.stage)
        region, target = view.region(labels), view.target(labels)
        if region is not None:
            region = jitter_region(region, case.grid.spacing[::-1], self.jitter, rng)
            # What stage 1 leaves out, stage 2 cannot find.
            target = np.where(region, target, np.uint8(0))
        image = view.input(hu, region, case.hu_offset)
        padding = [(0, p - n) for p, n in zip(self.patch, image.shape, strict=True)]
        if any(after for _, after in padding):
            image, target = np.pad(image, padding), np.pad(target, padding)
        angle = float(np.deg2rad(rng.uniform(-self.rotation, self.rotation)))
        moved, moved_target = rotate_patch(torch.from_numpy(image), torch.from_numpy(target), angle)
        return Sample(moved[None], moved_target[None], name)

    def place(self, index: int) -> tuple[str, Box]:
        """The case and the place of patch `index` of the overlapping ones."""
        name, case, number = self._case_of(index)
        return name, self._own_place(case, number)

    def _case_of(self, index: int) -> tuple[str, PreparedCase, int]:
        """The case that has patch `index`, and which one it is there."""
        at = int(np.searchsorted(self.ends, index, side="right"))
        name = self.names[at]
        return name, self.data.case(self.stage, name), index - int(self.ends[at - 1] if at else 0)

    def _own_place(self, case: PreparedCase, number: int) -> Box:
        """As `patch_slices(...)[number]`."""
        d, h, w = _along_axes(case.image.shape, self.patch, self.overlap)
        i, j, k = np.unravel_index(number, (len(d), len(h), len(w)))
        return d[i], h[j], w[k]

    def _draw(self, index: int, rng: np.random.Generator) -> tuple[str, PreparedCase, Box]:
        """A case and where in it the patch lies: at its own place, or about a voxel of the foreground."""
        name, case, number = self._case_of(index)
        if self.foreground and rng.random() < self.foreground:
            classes = [places for places in case.places if len(places)]
            if classes:
                places = classes[rng.integers(len(classes))]
                return name, case, patch_around(places[rng.integers(len(places))], case.image.shape, self.patch)
        return name, case, self._own_place(case, number)

    def _check(self, name: str, hu: Int16[ndarray, "d h w"], labels: UInt8[ndarray, "d h w"]) -> None:
        """Raise InputError for voxels that preparation does not write: files that were damaged or mixed up since."""
        low, high = self.data.preparation.window
        folder = self.data.folder / f"stage{self.stage}" / name
        if labels.max() > TUMOR:
            raise InputError(f"{folder}: expected labels 0 to {TUMOR}, got {labels.max()}; prepare the case again")
        if hu.min() < low or hu.max() > high:
            raise InputError(
                f"{folder}: expected {low:g} to {high:g} HU, got {hu.min()} to {hu.max()}; prepare the case again"
            )


def _along_axes(size: Triple, patch: Triple, overlap: Triple) -> tuple[list[slice], list[slice], list[slice]]:
    """What the patches cover along each axis."""
    d, h, w = (
        [where for (where,) in dense_patch_slices((n,), (min(n, p),), (max(1, p - o),))]
        for n, p, o in zip(size, patch, overlap, strict=True)
    )
    return d, h, w
