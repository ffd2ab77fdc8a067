"""Overlapping patches of prepared cases: what the networks are trained on."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from monai.data.utils import dense_patch_slices
from monai.transforms import RandRotated
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from ltvs.jitter import jitter_region
from ltvs.prepared import PreparedSet
from ltvs.stages import Stage, liver_region, network_input, network_target, zero_level

Triple = tuple[int, int, int]


@dataclass(frozen=True)
class Patch:
    """One training example: where it lies in which case."""

    case: str
    where: tuple[slice, slice, slice]


def patch_slices(size: Triple, patch: Triple, overlap: Triple) -> list[tuple[slice, slice, slice]]:
    """Patches that cover a volume, each sharing `overlap` voxels with the next; the last is moved back to fit.

    Args:
        size: of the volume, (d, h, w) voxels.
        patch: of a patch, (d, h, w) voxels; cut to the volume where that is smaller.
        overlap: shared by neighbours along (d, h, w), voxels.
    """
    fitting = [min(n, p) for n, p in zip(size, patch, strict=True)]
    step = [max(1, p - o) for p, o in zip(patch, overlap, strict=True)]
    return [tuple(where) for where in dense_patch_slices(size, fitting, step)]


class PatchDataset(Dataset[tuple[Tensor, Tensor, str]]):
    """Every overlapping patch of the named cases, turned about the body axis by a random angle.

    Indexed by `(epoch, index)`: seed, epoch and index alone decide angle and jitter, so that worker processes and
    interrupted runs cannot change it.

    Args:
        data: the prepared set.
        stage: 1 or 2.
        names: cases to draw from.
        patch: (d, h, w) voxels; smaller cases are padded at the end with background.
        overlap: (d, h, w) voxels shared by neighbouring patches.
        rotation: largest angle in degrees, to either side.
        jitter: mm by which the surface of the liver that stage 2 sees is moved at most.
        seed: of the angles and the jitter.

    Returns (per item):
        image (1, d, h, w) as `network_input` makes it, class per voxel (1, d, h, w), and the case's name.
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
    ) -> None:
        self.data = data
        self.stage = stage
        self.patch = patch
        self.jitter = jitter
        self.seed = seed
        self.patches = [
            Patch(name, where)
            for name in names
            for where in patch_slices(data.case(stage, name).image.shape, patch, overlap)
        ]
        self.zeros = {name: self._zero_level(name) for name in names}
        self.rotate = RandRotated(
            keys=("image", "target"),
            range_x=np.deg2rad(rotation),
            prob=1.0,
            mode=("bilinear", "nearest"),
            padding_mode="zeros",
        )

    def __len__(self) -> int:
        return len(self.patches)

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, Tensor, str]:
        epoch, index = key
        patch = self.patches[index]
        case = self.data.case(self.stage, patch.case)
        labels = np.asarray(case.labels[patch.where])
        rng = np.random.default_rng((self.seed, epoch, index))
        region, target = liver_region(labels, self.stage), network_target(labels, self.stage)
        if region is not None:
            region = jitter_region(region, case.grid.spacing[::-1], self.jitter, rng)
            # What stage 1 leaves out, stage 2 cannot find.
            target = np.where(region, target, np.uint8(0))
        image = network_input(
            np.asarray(case.image[patch.where]), region, self.data.preparation.window, self.zeros[patch.case]
        )
        padding = [(0, p - n) for p, n in zip(self.patch, image.shape, strict=True)]
        item = {
            "image": torch.from_numpy(np.pad(image, padding)[None]),
            "target": torch.from_numpy(np.pad(target, padding)[None].astype(np.float32)),
        }
        self.rotate.set_random_state(seed=int(rng.integers(2**32)))
        turned = self.rotate(item)
        return turned["image"].as_tensor(), turned["target"].as_tensor().long(), patch.case

    def _zero_level(self, name: str) -> float:
        case = self.data.case(self.stage, name)
        region = liver_region(np.asarray(case.labels), self.stage)
        return zero_level(np.asarray(case.image), region, self.data.preparation.window)


class EpochSampler(Sampler[tuple[int, int]]):
    """The shuffled order of one epoch after another, each decided by seed and epoch alone."""

    def __init__(self, length: int, seed: int) -> None:
        self.length = length
        self.seed = seed
        self.epoch = 0

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[tuple[int, int]]:
        order = np.random.default_rng((self.seed, self.epoch)).permutation(self.length)
        return iter([(self.epoch, int(index)) for index in order])
