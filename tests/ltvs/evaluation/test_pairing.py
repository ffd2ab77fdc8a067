"""Which label maps belong together, and what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

from ltvs.evaluation.pairing import pair_cases, read_pair
from ltvs.runtime.errors import InputError
from ltvs.volume.images import write_volume


def labels(shape: tuple[int, int, int] = (4, 5, 8), liver: int = 0) -> np.ndarray:
    """A label map with the first `liver` voxels of a row labeled."""
    found = np.zeros(shape, np.uint8)
    found[1, 0, :liver] = 1
    return found


def volume(path: Path, array: np.ndarray | None = None, spacing: float = 0.7) -> Path:
    image = sitk.GetImageFromArray(labels(liver=3) if array is None else array)
    image.SetSpacing((spacing, 0.8, 1.5))
    write_volume(image, path)
    return path


def test_two_files_are_a_pair_whatever_their_names(tmp_path: Path) -> None:
    p, r = volume(tmp_path / "seg.nii.gz"), volume(tmp_path / "case 7.mha")
    assert pair_cases(p, r) == {"case 7": (p, r)}


def test_folders_are_matched_by_name(tmp_path: Path) -> None:
    pairs = {n: (volume(tmp_path / "p" / f"{n}.nii.gz"), volume(tmp_path / "r" / f"{n}.nrrd")) for n in ("b", "a.1")}
    for name in ("p/a.png", "r/._b.nii.gz", "r/notes.txt"):
        (tmp_path / name).write_text("not a label map")
    found = pair_cases(tmp_path / "p", tmp_path / "r")
    assert found == pairs
    assert list(found) == ["a.1", "b"]


def test_cases_that_lack_one_of_the_two(tmp_path: Path) -> None:
    p, r = tmp_path / "p", tmp_path / "r"
    for name in "abcdefgh":
        volume(r / f"{name}.mha")
    volume(p / "b.mha")
    with pytest.raises(InputError, match=r"p: lacks a, c, d, e, f and 2 more; every prediction needs a reference"):
        pair_cases(p, r)
    with pytest.raises(InputError, match=r"p: lacks a, c, d, e, f and 2 more"):
        pair_cases(r, p)


def test_paths_that_cannot_be_paired(tmp_path: Path) -> None:
    file = volume(tmp_path / "full" / "a.mha")
    empty = tmp_path / "empty"
    empty.mkdir()
    for pair in ((tmp_path / "no", file), (file.parent, tmp_path / "no")):
        with pytest.raises(InputError, match="no: does not exist"):
            pair_cases(*pair)
    for pair in ((file, file.parent), (file.parent, file)):
        with pytest.raises(InputError, match=r"full is a folder and .*a\.mha is not; give two"):
            pair_cases(*pair)
    for pair in ((empty, file.parent), (file.parent, empty)):
        with pytest.raises(InputError, match=r"empty: expected label maps \(\.nii\.gz.*found none"):
            pair_cases(*pair)


def test_two_maps_of_one_name(tmp_path: Path) -> None:
    volume(tmp_path / "p" / "a.mha")
    volume(tmp_path / "p" / "a.nrrd")
    with pytest.raises(InputError, match=r"a\.nrrd and a\.mha have one name; keep one"):
        pair_cases(tmp_path / "p", tmp_path / "p")


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"spacing": 0.75}, r"spacing \(0\.75, 0\.8, 1\.5\) and \(0\.7, 0\.8, 1\.5\);"),
        ({"array": labels((4, 5, 9))}, r"size \(9, 5, 4\) and \(8, 5, 4\);"),
    ],
)
def test_grids_that_differ(tmp_path: Path, other: dict[str, Any], message: str) -> None:
    p, r = volume(tmp_path / "p.nii.gz", **other), volume(tmp_path / "r.nii.gz")
    with pytest.raises(InputError, match=r"p\.nii\.gz and .*r\.nii\.gz: expected one grid, got " + message):
        read_pair(p, r)


def test_labels_other_than_0_to_3(tmp_path: Path) -> None:
    good, bad = volume(tmp_path / "good.mha"), volume(tmp_path / "bad.mha", labels() + np.uint8(4))
    for pair in ((good, bad), (bad, good)):
        with pytest.raises(InputError, match=r"bad\.mha: expected labels 0 background.*got 4"):
            read_pair(*pair)
