"""The cases as arrays: read, made harder, and cut into the patches that a step trains on."""

import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy import ndarray
from scipy import ndimage
from torch import Tensor

from benchmarks.accuracy.task import Task
from ltvs.model.stages import find_hu_offset, liver_region, network_input, network_target
from ltvs.training.augmentation import rotate_patch
from ltvs.volume.labels import LIVER, TUMOR

#: How names of cases for testing begin: plain phantoms, and those around livers of 3D-IRCADb.
PLAIN, REAL = "plain-", "3dircadb-"
WINDOW = (-160.0, 240.0)


class Volume(NamedTuple):
    """HU, int16, and labels, uint8, of the box around a liver, (d, h, w)."""

    hu: ndarray
    labels: ndarray


class Prepared(NamedTuple):
    """What a network sees of a case, float32, and the class of each voxel, uint8, (d, h, w)."""

    name: str
    image: ndarray
    target: ndarray


def write_case(path: Path, volume: Volume) -> None:
    """Write a case, or leave nothing."""
    unfinished = path.with_suffix(".part")
    with unfinished.open("wb") as file:
        np.savez_compressed(file, hu=volume.hu.astype(np.int16), labels=volume.labels.astype(np.uint8))
    unfinished.replace(path)


def read_case(path: Path) -> Volume:
    """A case as `write_case` wrote it.

    Raises:
        ValueError: the file is damaged or something else.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            volume = Volume(arrays["hu"], arrays["labels"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: expected a case of benchmarks.accuracy.data; got {error}; make it again") from error
    if volume.hu.ndim != 3 or volume.hu.shape != volume.labels.shape or volume.labels.max() > TUMOR:
        raise ValueError(f"{path}: expected HU and labels of one shape, labels up to {TUMOR}; make it again")
    return volume


def names_for_testing(folder: Path) -> list[str]:
    """Names of the cases for testing."""
    return [name for name in _names(folder) if _tested(name)]


def names_for_training(folder: Path, data: str) -> list[str]:
    """Names of the cases for training: `all`, or the `plain` phantoms alone."""
    return [n for n in _names(folder) if not _tested(n) and (data == "all" or n.startswith(PLAIN))]


def _tested(name: str) -> bool:
    return name.startswith(REAL) or (name.startswith(PLAIN) and not name.startswith("plain-train"))


def _names(folder: Path) -> list[str]:
    names = sorted(path.stem for path in folder.glob("*.npz"))
    if not names:
        raise ValueError(f"{folder}: expected cases, *.npz; found none; make them with benchmarks.accuracy.data")
    return names


def prepare(name: str, volume: Volume, task: Task) -> Prepared:
    """A case as the networks see it, made as hard as the task says."""
    # Of the name, so that a case is the same whatever else is there.
    rng = np.random.default_rng([*name.encode()])
    hu = hardened(volume, task, rng)
    liver = liver_region(volume.labels, 2)
    zero = find_hu_offset(hu, liver, WINDOW)
    return Prepared(name, network_input(hu, liver, WINDOW, zero), network_target(volume.labels, 2))


def hardened(volume: Volume, task: Task, rng: np.random.Generator) -> ndarray:
    """HU with less contrast in the liver, more noise, and some of its tumors as bright as the tissue around them."""
    hu, liver = volume.hu.astype(np.float32), volume.labels > 0
    tissue = float(np.median(hu[volume.labels == LIVER]))
    pieces, count = ndimage.label(volume.labels == TUMOR)
    for piece in range(1, count + 1):
        if rng.random() < task.isodense:
            mask = pieces == piece
            # Soft, as the voxels at its surface are in part tissue.
            hu += (tissue - hu[mask].mean()) * ndimage.gaussian_filter(mask.astype(np.float32), 0.6)
    hu = np.where(liver, tissue + task.contrast * (hu - tissue), hu)
    noise = ndimage.gaussian_filter(rng.standard_normal(hu.shape, dtype=np.float32), 0.5)
    return np.round(hu + task.noise / noise.std() * noise).clip(-1024, 3071).astype(np.int16)


def batch(cases: list[Prepared], task: Task, seed: int, step: int) -> tuple[Tensor, Tensor]:
    """The patches of a step, (b, 1, d, h, w) float32 and uint8; seed and step alone decide them.

    The middle of a patch is a voxel of vessel, tumor, or anything in the liver, each as likely; it is turned about the
    body axis by any angle.
    """
    rng = np.random.default_rng((seed, step))
    images, targets = [], []
    for _ in range(task.batch):
        case = cases[rng.integers(len(cases))]
        candidates = np.flatnonzero(case.target == rng.integers(3))
        if not len(candidates):
            candidates = np.flatnonzero(case.image)
        center = np.unravel_index(candidates[rng.integers(len(candidates))], case.target.shape)
        image, target = (_around(array, center, task.patch) for array in (case.image, case.target))
        moved = rotate_patch(torch.from_numpy(image), torch.from_numpy(target), float(rng.uniform(-np.pi, np.pi)))
        images.append(moved[0])
        targets.append(moved[1])
    return torch.stack(images)[:, None], torch.stack(targets)[:, None]


def _around(array: ndarray, center: tuple[ndarray, ...], patch: tuple[int, int, int]) -> ndarray:
    """A patch about a voxel, 0 beyond the volume."""
    out = np.zeros(patch, array.dtype)
    source, place = [], []
    for middle, size, length in zip(center, patch, array.shape, strict=True):
        first = int(middle) - size // 2
        low, high = max(0, first), min(length, first + size)
        source.append(slice(low, high))
        place.append(slice(low - first, high - first))
    out[tuple(place)] = array[tuple(source)]
    return out
