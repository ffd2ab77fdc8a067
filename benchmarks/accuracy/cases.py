"""The cases as arrays: read, made harder, and cut into the patches that a step trains on."""

import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy import ndarray
from scipy import ndimage
from torch import Tensor

from benchmarks.accuracy.run_files import DATA
from benchmarks.accuracy.task import Task
from crossattn3d._checks.options import check_option
from ltvs.model.stages import find_hu_offset, liver_region, network_input, network_target
from ltvs.runtime.files import atomic_path
from ltvs.training.augmentation import rotate_patch
from ltvs.volume.labels import LIVER, TUMOR

#: Prefixes of names: plain phantoms, those around livers of 3D-IRCADb, and scenes rendered from maps.
PLAIN, REAL, RENDERED = "plain-", "3dircadb-", "rendered-"
#: Prefix of real CTs, which are scored apart.
CT = "ct-"
#: In the names of phantoms and scenes to train on.
TRAIN = "-train-"
WINDOW = (-160.0, 240.0)


class Volume(NamedTuple):
    """HU, int16, and labels, uint8, of the box around a liver, (d, h, w)."""

    hu: ndarray
    labels: ndarray


class Prepared(NamedTuple):
    """A case as a network sees it, float32, and the class of each voxel, uint8, (d, h, w)."""

    name: str
    image: ndarray
    target: ndarray


def write_case(path: Path, volume: Volume) -> None:
    """Write a case whole or not at all."""
    with atomic_path(path) as temporary:
        np.savez_compressed(temporary, hu=volume.hu.astype(np.int16), labels=volume.labels.astype(np.uint8))


def read_case(path: Path) -> Volume:
    """Read a case that `write_case` wrote.

    Raises:
        ValueError: the file is damaged or not a case.
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
    """Return the names of the test cases."""
    return [name for name in _names(folder) if _tested(name)]


def names_of_cts(folder: Path) -> list[str]:
    """Return the names of the real CTs."""
    return [name for name in _names(folder) if name.startswith(CT)]


def names_for_training(folder: Path, data: str) -> list[str]:
    """Return the names of the training cases: `all`, or the `plain` phantoms only.

    Raises:
        ValueError: data is neither.
    """
    check_option("names_for_training", "data", data, DATA)
    trained = [name for name in _names(folder) if not _tested(name) and not name.startswith(CT)]
    return [name for name in trained if data == "all" or name.startswith(PLAIN)]


def _tested(name: str) -> bool:
    return name.startswith(REAL) or (name.startswith((PLAIN, RENDERED)) and TRAIN not in name)


def _names(folder: Path) -> list[str]:
    names = sorted(path.stem for path in folder.glob("*.npz"))
    if not names:
        raise ValueError(
            f"{folder}: expected cases, *.npz; found none; make them with benchmarks.accuracy.data.rendered"
        )
    return names


def prepared(folder: Path, names: Iterable[str], task: Task) -> list[Prepared]:
    """Read and prepare the named cases.

    Raises:
        ValueError: a file is damaged.
    """
    return [prepare(name, read_case(folder / f"{name}.npz"), task) for name in names]


def evenly(cases: Sequence[Prepared], number: int) -> list[Prepared]:
    """Return this many cases, or all there are, at even steps through them."""
    return [cases[i * len(cases) // number] for i in range(number)] if number < len(cases) else list(cases)


def prepare(name: str, volume: Volume, task: Task) -> Prepared:
    """Return a case as the networks see it, made as hard as the task says."""
    # The name seeds it, so that a case is the same whatever other cases there are.
    rng = np.random.default_rng([*name.encode()])
    hu = hardened(volume, task, rng)
    liver = liver_region(volume.labels, 2)
    offset = find_hu_offset(hu, liver, WINDOW)
    return Prepared(name, network_input(hu, liver, WINDOW, offset), network_target(volume.labels, 2))


def hardened(volume: Volume, task: Task, rng: np.random.Generator) -> ndarray:
    """Return the HU with less contrast in the liver, more noise, and some tumors as bright as the tissue around."""
    hu, liver = volume.hu.astype(np.float32), volume.labels > 0
    tissue = float(np.median(hu[volume.labels == LIVER]))
    pieces, count = ndimage.label(volume.labels == TUMOR)
    for piece in range(1, count + 1):
        if rng.random() < task.isodense:
            mask = pieces == piece
            # Smoothed, since the voxels at its surface are partly tissue.
            hu += (tissue - hu[mask].mean()) * ndimage.gaussian_filter(mask.astype(np.float32), 0.6)
    hu = np.where(liver, tissue + task.contrast * (hu - tissue), hu)
    if not task.noise:
        return hu.round().astype(np.int16)
    noise = ndimage.gaussian_filter(rng.standard_normal(hu.shape, dtype=np.float32), 0.5)
    return np.round(hu + task.noise / noise.std() * noise).clip(-1024, 3071).astype(np.int16)


def batch(cases: list[Prepared], task: Task, seed: int, step: int) -> tuple[Tensor, Tensor]:
    """Return the patches of a step, (b, 1, d, h, w) float32 and uint8, which depend on seed and step only.

    A patch lies about a voxel of vessel, of tumor, or of neither, with equal probability, and is rotated about the body
    axis by any angle.
    """
    rng = np.random.default_rng((seed, step))
    images, targets = [], []
    for _ in range(task.batch):
        case = cases[rng.integers(len(cases))]
        candidates = np.flatnonzero(case.target == rng.integers(3))
        if not len(candidates):
            candidates = np.flatnonzero(case.image)
        center = np.unravel_index(candidates[rng.integers(len(candidates))], case.target.shape)
        image, target = (torch.from_numpy(_around(x, center, task.patch)) for x in (case.image, case.target))
        rotated = rotate_patch(image, target, float(rng.uniform(-np.pi, np.pi)))
        images.append(rotated[0])
        targets.append(rotated[1])
    return torch.stack(images)[:, None], torch.stack(targets)[:, None]


def _around(array: ndarray, center: tuple[ndarray, ...], patch: tuple[int, int, int]) -> ndarray:
    """Return the patch about a voxel, 0 beyond the volume."""
    first = [int(middle) - size // 2 for middle, size in zip(center, patch, strict=True)]
    inside = [slice(max(0, low), low + size) for low, size in zip(first, patch, strict=True)]
    cut = array[tuple(inside)]
    before = [max(0, -low) for low in first]
    lack = zip(before, patch, cut.shape, strict=True)
    return np.pad(cut, [(low, size - low - length) for low, size, length in lack])
