"""The loaders that are compared, over the same cases: ours over prepared files, MONAI's over NIfTI files of the same.

Each gives batches of four patches that were cut at random and rotated about the body axis by up to 15 degrees. MONAI's
transforms are those of its tutorials; its data sets keep the results of those before the first random one, the
CacheDataset in memory, the PersistentDataset in a file per case, which it reads whole for every item.
"""

import shutil
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch
from monai.data import CacheDataset, DataLoader, PersistentDataset
from monai.transforms import Compose, LoadImaged, RandRotated, RandSpatialCropSamplesd, ScaleIntensityRanged
from torch.utils.data import RandomSampler

from ltvs.dataset.layout import PreparedSet
from ltvs.runtime.files import read_json, write_json
from ltvs.training.loader import PatchLoader
from ltvs.training.patches import PatchDataset, Sampling
from ltvs.volume.images import write_volume

STAGE = 2
BATCH, ROTATION, JITTER = 4, 15.0, 4.0
KEYS = ("image", "labels")
#: More items than anyone draws.
_ENDLESS = 10**6

Triple = tuple[int, int, int]


def copied(data: PreparedSet, number: int, folder: Path) -> PreparedSet:
    """Return a prepared set of copies of the first case of `data`, with a NIfTI file of each array beside it.

    The copies are separate files, so that a loader that keeps what it read keeps it once for each.
    """
    first = data.folder / f"stage{STAGE}" / data.cases[0]
    case = data.case(STAGE, data.cases[0])
    names = [f"case{i}" for i in range(number)]
    for name in names:
        shutil.copytree(first, folder / f"stage{STAGE}" / name)
    for key in KEYS:
        volume = case.grid.place(sitk.GetImageFromArray(np.array(getattr(case, key))))
        write_volume(volume, nifti(folder, key, names[0]))
        for name in names[1:]:
            shutil.copyfile(nifti(folder, key, names[0]), nifti(folder, key, name))
    write_json(folder / "split.json", {"train": names, "validation": [], "test": []})
    description = read_json(data.folder / "dataset.json")
    write_json(folder / "dataset.json", description | {"cases": {name: name for name in names}})
    return PreparedSet(folder)


def nifti(folder: Path, key: str, name: str) -> Path:
    """Return the path of the NIfTI file of an array of a case."""
    return folder / "nifti" / f"{name}-{key}.nii.gz"


def patches(data: PreparedSet, patch: Triple, jitter: float = 0.0, augment: bool = False) -> PatchDataset:
    """Return the data set that training draws from: patches that share half of their slices."""
    sampling = Sampling(patch, (patch[0] // 2, 0, 0), ROTATION, jitter, augment=augment)
    return PatchDataset(data, STAGE, data.cases, sampling)


def ours(
    data: PreparedSet, patch: Triple, workers: int, jitter: float, augment: bool = False
) -> Iterator[torch.Tensor]:
    """Yield images, batch by batch, as training gets them."""
    with PatchLoader(patches(data, patch, jitter, augment), BATCH, seed=0, workers=workers) as loader:
        for epoch in count():
            for [batch] in loader.epoch(epoch):
                yield batch.image


def monai(
    dataset: Callable[..., Any], data: PreparedSet, patch: Triple, workers: int, each: int
) -> Iterator[torch.Tensor]:
    """Yield images, batch by batch, with `each` patches of every case that is loaded.

    Args:
        dataset: returns the data set of the files and the transforms.
        data: made by `copied`.
        patch: (d, h, w) voxels; MONAI has slices last.
        workers: processes.
        each: a divisor of the batch size.
    """
    low, high = data.preparation.window
    transforms = Compose(
        [
            LoadImaged(KEYS, reader="NibabelReader", ensure_channel_first=True),
            ScaleIntensityRanged("image", low, high, 0.0, 1.0, clip=True),
            RandSpatialCropSamplesd(KEYS, roi_size=patch[::-1], num_samples=each, random_size=False),
            RandRotated(
                KEYS, range_z=np.deg2rad(ROTATION), prob=1.0, mode=("bilinear", "nearest"), padding_mode="zeros"
            ),
        ]
    )
    files = [{key: str(nifti(data.folder, key, name)) for key in KEYS} for name in data.cases]
    of_cases = dataset(files, transforms)
    sampler = RandomSampler(of_cases, replacement=True, num_samples=_ENDLESS)
    for batch in DataLoader(of_cases, batch_size=BATCH // each, sampler=sampler, num_workers=workers):
        yield batch["image"]


def loaders(data: PreparedSet, cache: Path, patch: Triple, workers: int) -> dict[str, Callable[[], Iterator[Any]]]:
    """Return functions that start each loader, by name.

    Args:
        data: made by `copied`.
        cache: folder for the PersistentDataset.
        patch: (d, h, w) voxels.
        workers: processes of each.
    """

    def persistent(files: Any, transforms: Any) -> Any:
        made = PersistentDataset(files, transforms, cache_dir=cache)
        if not any(cache.iterdir()):
            for index in range(len(made)):
                made[index]
        return made

    held: list[Any] = []

    def cached(files: Any, transforms: Any) -> Any:
        if not held:
            held.append(CacheDataset(files, transforms, progress=False))
        return held[0]

    return {
        "ours": lambda: ours(data, patch, workers, 0.0),
        "ours, liver's surface moved": lambda: ours(data, patch, workers, JITTER),
        "ours, with --augment as well": lambda: ours(data, patch, workers, JITTER, augment=True),
        "MONAI PersistentDataset": lambda: monai(persistent, data, patch, workers, 1),
        "MONAI PersistentDataset, 4 patches a load": lambda: monai(persistent, data, patch, workers, 4),
        "MONAI CacheDataset": lambda: monai(cached, data, patch, workers, 1),
    }
