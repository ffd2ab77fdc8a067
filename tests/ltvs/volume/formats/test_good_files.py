"""NRRD and MetaImage: a good file is read as ITK reads it, whatever its type of voxels, compression and direction."""

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from ltvs.volume.formats.metaimage import read_metaimage
from ltvs.volume.formats.nrrd import read_nrrd
from ltvs.volume.images import same_grid
from support.noise_volumes import noise, written
from support.tiny_cases import OBLIQUE

KINDS = [np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64, np.float32, np.float64]
READERS = {"ct.mha": read_metaimage, "ct.nrrd": read_nrrd}


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("direction", OBLIQUE[:2])
def test_it_is_read_as_itk_does(name: str, kind: type, compressed: bool, direction: np.ndarray, tmp_path: Path) -> None:
    volume = noise(kind=kind)
    volume.SetDirection(direction.ravel().tolist())
    written(tmp_path / name, compressed, volume)
    read, itk = READERS[name](tmp_path / name), sitk.ReadImage(str(tmp_path / name))
    assert read.GetPixelID() == itk.GetPixelID()
    assert same_grid(read, itk)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(read), sitk.GetArrayFromImage(itk))
