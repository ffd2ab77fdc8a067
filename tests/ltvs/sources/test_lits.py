"""LiTS17 in the forms in which it is passed on."""

from pathlib import Path

import numpy as np
import pytest

from ltvs.runtime.errors import InputError
from ltvs.sources.lits import lits
from ltvs.volume.images import write_volume
from support.tiny_cases import array, assert_is_the_tiny_case, tiny_case
from support.volume_file_layouts import APPLE_DOUBLE, liver_and_tumor, whole_organ

CASE = tiny_case()

LAYOUTS = {
    "one folder": ("volume-{}.nii", "segmentation-{}.nii"),
    "compressed": ("volume-{}.nii.gz", "segmentation-{}.nii.gz"),
    "batches": ("Training Batch 1/volume-{}.nii", "Training Batch 1/segmentation-{}.nii"),
    "a mirror": ("volume_pt1/volume-{}.nii", "segmentations/segmentation-{}.nii"),
    "a folder each": ("volume-{0}.nii/volume-{0}.nii", "segmentation-{0}.nii/segmentation-{0}.nii"),
}


def write(folder: Path, layout: str, *numbers: int) -> None:
    for number in numbers:
        for volume, name in zip((CASE.ct, liver_and_tumor(CASE)), LAYOUTS[layout], strict=True):
            file = folder / name.format(number)
            write_volume(volume, file)
            file.with_name(f"._{file.name}").write_bytes(APPLE_DOUBLE)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout(tmp_path: Path, layout: str) -> None:
    write(tmp_path, layout, 10, 2, 130)
    write_volume(CASE.ct, tmp_path / "test-volume-3.nii")
    source = lits(tmp_path)
    assert list(source) == ["lits-002", "lits-010", "lits-130"]
    assert [entry.patient for entry in source.values()] == list(source)
    assert source["lits-010"].files == tuple(tmp_path / name.format(10) for name in LAYOUTS[layout])
    case = source["lits-010"].load()
    assert case.name == "lits-010"
    assert case.vessel is None
    assert_is_the_tiny_case(case, ("tumor",))
    np.testing.assert_array_equal(array(case.liver), array(whole_organ(CASE)))


def test_a_case_without_tumor(tmp_path: Path) -> None:
    write_volume(CASE.ct, tmp_path / "volume-32.nii")
    write_volume(CASE.liver, tmp_path / "segmentation-32.nii")
    case = lits(tmp_path)["lits-032"].load()
    assert_is_the_tiny_case(case, ("liver",))
    assert not array(case.tumor).any()


def test_a_missing_segmentation_is_an_error_of_its_case(tmp_path: Path) -> None:
    write(tmp_path, "one folder", 1, 2)
    (tmp_path / "segmentation-2.nii").unlink()
    source = lits(tmp_path)
    assert source["lits-002"].files == (tmp_path / "volume-2.nii",)
    assert_is_the_tiny_case(source["lits-001"].load(), ("tumor",))
    with pytest.raises(InputError, match=r"segmentation-2.nii: does not exist"):
        source["lits-002"].load()


def test_a_case_twice_or_none(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected volume-N.nii and segmentation-N.nii in it, found none"):
        lits(tmp_path)
    write(tmp_path, "one folder", 4)
    write(tmp_path, "compressed", 4)
    with pytest.raises(InputError, match=r"expected each file once, got .*-4.nii and .*-4.nii.gz; keep one of the two"):
        lits(tmp_path)
