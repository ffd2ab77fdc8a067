"""Small volumes of noise, whose voxels cannot be taken for others, and files of them."""

from pathlib import Path

import numpy as np
import SimpleITK as sitk

#: Suffix, and whether the voxels are compressed.
FILES = [(".nii", False), (".nii.gz", True), (".mha", False), (".mha", True), (".nrrd", False), (".nrrd", True)]


def noise(size: tuple[int, int, int] = (7, 6, 5), kind: type = np.int16, seed: int = 0) -> sitk.Image:
    """Return a volume of `size` (x, y, z) whose axes are swapped and differ in spacing."""
    values = np.random.default_rng(seed).integers(0, 100, size[::-1]).astype(kind)
    return placed(values)


def placed(values: np.ndarray) -> sitk.Image:
    """Return a volume of these values (z, y, x)."""
    volume = sitk.GetImageFromArray(values)
    volume.SetSpacing((0.7, 0.8, 1.5))
    volume.SetOrigin((-10.5, 20.25, 300))
    volume.SetDirection((0, 1, 0, -1, 0, 0, 0, 0, 1))
    return volume


def written(path: Path, compressed: bool, volume: sitk.Image | None = None) -> bytes:
    """Write a volume with ITK and return the bytes of the file."""
    sitk.WriteImage(noise() if volume is None else volume, str(path), useCompression=compressed)
    return path.read_bytes()
