"""Masks and label maps as files really hold them, through every function and source that reads them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given
from hypothesis import strategies as st

from ltvs.evaluation.pairing import read_pair
from ltvs.runtime.errors import InputError
from ltvs.sources.ircadb import ircadb
from ltvs.sources.lits import lits
from ltvs.sources.ltvs import ltvs
from ltvs.sources.msd import msd03, msd08
from ltvs.volume.images import read_labels, read_mask, write_volume
from ltvs.volume.label_values import finite, whole_labels
from support.ircadb_layout import usual_masks, write_patient, write_series
from support.noise_volumes import placed
from support.tiny_cases import array, tiny_case
from support.volume_file_layouts import liver_and_tumor, vessel_and_tumor, write_own, write_task

INSIDE = np.zeros((3, 4, 5))
INSIDE[1, 2, 3] = INSIDE[2, 0, 1] = 1


@pytest.mark.parametrize(
    "values",
    [
        (INSIDE * 0.996078).astype(np.float32),
        INSIDE * 1.0039,
        INSIDE * 254.996,
        (INSIDE * 256).astype(np.int16),
        (INSIDE * 65535).astype(np.uint16),
        INSIDE.astype(np.int64) << 40,
        INSIDE + 0.0039 * (INSIDE == 0),
        INSIDE - 1e-9,
    ],
)
def test_a_mask_is_1_where_it_is_above_0(values: np.ndarray, tmp_path: Path) -> None:
    sitk.WriteImage(placed(values), str(tmp_path / "mask.nii"))
    mask = read_mask(tmp_path / "mask.nii")
    assert mask.GetPixelID() == sitk.sitkUInt8
    np.testing.assert_array_equal(sitk.GetArrayFromImage(mask), INSIDE)


@pytest.mark.parametrize("values", [INSIDE * 3, INSIDE * 2.9961, INSIDE * 3.0039 - 1e-3])
@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_labels_a_rounding_off(values: np.ndarray, kind: type, tmp_path: Path) -> None:
    sitk.WriteImage(placed(values.astype(kind)), str(tmp_path / "labels.nrrd"))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(read_labels(tmp_path / "labels.nrrd")), INSIDE * 3)


@given(st.integers(0, 2**32 - 1), st.floats(0, 0.0099))
def test_whole_numbers_survive_any_small_noise(seed: int, size: float) -> None:
    draw = np.random.default_rng(seed)
    whole = draw.integers(0, 5, (2, 3, 4))
    whole[0, 0, 0] = 4
    np.testing.assert_array_equal(whole_labels(Path("x"), whole + draw.uniform(-size, size, whole.shape)), whole)


def test_no_labels_at_all() -> None:
    for values in (INSIDE * 0, INSIDE * 1e-9, (INSIDE * 0).astype(np.int8)):
        assert not whole_labels(Path("x"), values).any()


REFUSED = [
    ((INSIDE * 255).astype(np.uint8).view(np.int8), "expected labels of 0 or more, got -1; is it a mask of 255 in 8"),
    ((INSIDE * -2).astype(np.int32), "expected labels of 0 or more, got -2"),
    ((INSIDE * -1000).astype(np.int16), "expected labels of 0 or more, got -1000; is it a CT?"),
    (INSIDE * -1.0, "expected labels of 0 or more, got -1"),
    (INSIDE * 0.3, "expected whole numbers, got 0.3; are these probabilities, or was the map resampled"),
    (INSIDE * 0.98, "expected whole numbers, got 0.98"),
    (INSIDE * 1.5, "expected whole numbers, got 1.5"),
    (INSIDE / 255, "got nothing but 0 and values up to 0.003922; were the labels divided by 255"),
    (INSIDE / -255, "got nothing but 0 and values up to 0.003922"),
    (np.where(INSIDE > 0, np.nan, 0), "has NaN or infinite voxels; repair the file"),
    (np.where(INSIDE > 0, np.inf, 0), "has NaN or infinite voxels; repair the file"),
]


@pytest.mark.parametrize(("values", "message"), REFUSED)
@pytest.mark.parametrize("suffix", [".nii.gz", ".mha", ".nrrd"])
@pytest.mark.parametrize("read", [read_mask, read_labels, lambda path: read_pair(path, path)])
def test_values_that_are_no_labels(values: np.ndarray, message: str, suffix: str, read, tmp_path: Path) -> None:
    path = tmp_path / f"labels{suffix}"
    sitk.WriteImage(placed(values), str(path))
    with pytest.raises(InputError, match=message) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_values_that_are_not_finite() -> None:
    assert finite(Path("x"), INSIDE) is INSIDE
    with pytest.raises(InputError, match="x: has NaN or infinite voxels; repair the file before using it"):
        finite(Path("x"), np.where(INSIDE > 0, -np.inf, 0))


def minus_one(mask: sitk.Image) -> sitk.Image:
    """A mask of 255 in 8 bits with a sign."""
    return sitk.Cast(mask > 0, sitk.sitkInt8) * -1


def own(folder: Path) -> Path:
    write_own(folder / "a", tiny_case())
    write_volume(minus_one(tiny_case().tumor), folder / "a" / "tumor.mha")
    return folder


def of_lits(folder: Path) -> Path:
    write_volume(tiny_case().ct, folder / "volume-3.nii")
    write_volume(minus_one(liver_and_tumor(tiny_case())), folder / "segmentation-3.nii")
    return folder


def task03(folder: Path) -> Path:
    return write_task(folder / "Task03_Liver", {"liver_3": minus_one(liver_and_tumor(tiny_case()))})


def task08(folder: Path) -> Path:
    write_volume(minus_one(tiny_case().liver), folder / "livers" / "hepaticvessel_003.nii.gz")
    return write_task(folder / "Task08_HepaticVessel", {"hepaticvessel_003": vessel_and_tumor(tiny_case())})


def of_ircadb(folder: Path) -> Path:
    patient = folder / "3Dircadb1.3"
    write_patient(patient, usual_masks(tiny_case()), tiny_case())
    for file in (patient / "MASKS_DICOM" / "liver").iterdir():
        file.unlink()
    write_series(patient / "MASKS_DICOM" / "liver", tiny_case().liver * 255, PixelRepresentation=1)
    return folder


@pytest.mark.parametrize(
    ("write", "source"),
    [
        (own, ltvs),
        (of_lits, lits),
        (task03, msd03),
        (task08, lambda path: msd08(path, liver=path.parent / "livers")),
        (of_ircadb, ircadb),
    ],
)
def test_no_source_takes_minus_one_for_background(write: Callable, source: Callable, tmp_path: Path) -> None:
    (entry,) = source(write(tmp_path)).values()
    with pytest.raises(InputError, match="expected labels of 0 or more, got -1; is it a mask of 255 in 8 bits"):
        entry.load()


def test_a_mask_of_0_and_255_is_read_from_dicom(tmp_path: Path) -> None:
    write_series(tmp_path / "mask", tiny_case().liver * 255)
    np.testing.assert_array_equal(array(read_mask(tmp_path / "mask")), array(tiny_case().liver))
