"""Volumes in and out: formats, and one clear line for what cannot be used."""

import gzip
import os
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from ltvs.runtime.errors import InputError
from ltvs.volume.images import read_ct, read_labels, same_grid, stem, volume_files, write_volume


def volume(dtype: type = np.int16, size: tuple[int, int, int] = (3, 4, 5), value: float = 7) -> sitk.Image:
    image = sitk.GetImageFromArray(np.full(size, value, dtype=dtype))
    image.SetSpacing((0.7, 0.8, 1.5))
    image.SetOrigin((-10.5, 20.25, 300))
    image.SetDirection((0, 1, 0, -1, 0, 0, 0, 0, 1))
    return image


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".nrrd", ".mha"])
def test_volumes_keep_values_and_geometry(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"case 7 ä{suffix}"
    write_volume(volume(), path)
    read = read_ct(path)
    assert same_grid(read, volume())
    np.testing.assert_array_equal(sitk.GetArrayFromImage(read), sitk.GetArrayFromImage(volume()))
    assert stem(path) == "case 7 ä"
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_volume_files_are_sorted_and_not_hidden(tmp_path: Path) -> None:
    for name in ("b.NRRD", "a.nii.gz", "._a.nii.gz", "notes.txt"):
        (tmp_path / name).touch()
    (tmp_path / "folder.nii").mkdir()
    assert [path.name for path in volume_files(tmp_path.iterdir())] == ["a.nii.gz", "b.NRRD"]


def test_hu_stored_as_float_become_int16(tmp_path: Path) -> None:
    write_volume(volume(np.float32, value=-1000.0), tmp_path / "ct.nii.gz")
    assert read_ct(tmp_path / "ct.nii.gz").GetPixelID() == sitk.sitkInt16


def test_a_write_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected a name that ends in \.nii\.gz"):
        write_volume(volume(), tmp_path / "labels.txt")
    assert list(tmp_path.iterdir()) == []


def not_hu(path: Path) -> None:
    write_volume(volume(np.float32, value=70000), path)


def colored(path: Path) -> None:
    sitk.WriteImage(sitk.Compose(*[sitk.Image(4, 5, 6, sitk.sitkUInt8)] * 3), str(path))


def in_time(path: Path) -> None:
    sitk.WriteImage(sitk.JoinSeries([volume(), volume()]), str(path))


def flat(path: Path) -> None:
    sitk.WriteImage(sitk.Image(4, 5, sitk.sitkInt16), str(path))


def text(path: Path) -> None:
    path.write_bytes(gzip.compress(b"not an image at all" * 99))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (text, "cannot be read as a volume"),
        (not_hu, "are not HU"),
        (colored, "expected one value per voxel, got 3"),
        (in_time, "expected a 3D volume, got 4D; give one volume of it"),
        (flat, "expected a 3D volume, got 2D; give all slices in one file"),
    ],
)
def test_a_file_that_is_no_ct(tmp_path: Path, make, message: str) -> None:
    path = tmp_path / "ct.nii.gz"
    make(path)
    with pytest.raises(InputError, match=message) as caught:
        read_ct(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".nrrd", ".mha"])
def test_a_file_that_was_cut_short(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"ct{suffix}"
    noise = np.random.default_rng(0).integers(-1000, 1000, (20, 21, 22)).astype(np.int16)
    write_volume(sitk.GetImageFromArray(noise), path)
    assert read_ct(path).GetSize() == (22, 21, 20)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"is it complete|is cut short"):
        read_ct(path)


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii"])
def test_a_disk_that_fills_up_silently_leaves_nothing(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As ITK behaves with NIfTI: it reports no error, and the file ends early."""
    write = sitk.WriteImage

    def cut_short(image: sitk.Image, name: str, **options: bool) -> None:
        write(image, name, **options)
        Path(name).write_bytes(Path(name).read_bytes()[:-200])

    noise = np.random.default_rng(0).integers(-1000, 1000, (20, 21, 22)).astype(np.int16)
    monkeypatch.setattr(sitk, "WriteImage", cut_short)
    with pytest.raises(InputError, match=rf"ct{suffix}: cannot be written completely; is the disk full\?"):
        write_volume(sitk.GetImageFromArray(noise), tmp_path / f"ct{suffix}")
    assert list(tmp_path.iterdir()) == []


def test_voxels_that_are_not_finite(tmp_path: Path) -> None:
    write_volume(volume(np.float32, value=np.nan), tmp_path / "ct.mha")
    with pytest.raises(InputError, match="NaN or infinite voxels"):
        read_ct(tmp_path / "ct.mha")


def test_a_path_that_is_no_ct(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        read_ct(tmp_path / "missing.nii.gz")
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(InputError, match="or a folder with a DICOM series"):
        read_ct(tmp_path / "notes.txt")
    with pytest.raises(InputError, match="no DICOM series found"):
        read_ct(tmp_path)


def test_a_file_that_the_system_does_not_let_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    write_volume(volume(), tmp_path / "ct.mha")
    monkeypatch.setattr(Path, "open", denied)
    with pytest.raises(InputError, match=r"ct.mha: cannot be read \(Permission denied\)"):
        read_ct(tmp_path / "ct.mha")


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "ct.nii")
    with pytest.raises(InputError, match="expected a file that ends in"):
        read_ct(tmp_path / "ct.nii")


def test_hu_with_fractions_are_rounded_not_cut_off(tmp_path: Path) -> None:
    for value, expected in ((-999.9999, -1000), (99.6, 100), (-0.4, 0)):
        write_volume(volume(np.float32, value=value), tmp_path / "ct.nii.gz")
        assert np.unique(sitk.GetArrayFromImage(read_ct(tmp_path / "ct.nii.gz"))).tolist() == [expected]


def test_labels_other_than_0_to_3_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "labels.nii.gz"
    write_volume(volume(np.uint8, value=3), path)
    assert read_labels(path).GetPixelID() == sitk.sitkUInt8
    write_volume(volume(np.uint8, value=255), path)
    with pytest.raises(InputError, match=r"expected labels 0 background.*got 255"):
        read_labels(path)
    with pytest.raises(InputError, match="is a folder; expected a file"):
        read_labels(tmp_path)


def test_same_grid_sees_size_spacing_origin_and_direction() -> None:
    assert same_grid(volume(), volume())
    assert not same_grid(volume(), volume(size=(3, 4, 6)))
    changes = [
        lambda v: v.SetSpacing((0.7, 0.8, 1.6)),
        lambda v: v.SetOrigin((-10.5, 20.25, 301)),
        lambda v: v.SetDirection((1, 0, 0, 0, 1, 0, 0, 0, 1)),
    ]
    for change in changes:
        other = volume()
        change(other)
        assert not same_grid(volume(), other)


def test_a_volume_that_itk_cannot_write(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"seg.nii.gz: cannot be written \("):
        write_volume(sitk.Image(3, 4, 5, sitk.sitkLabelUInt8), tmp_path / "seg.nii.gz")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", [".NII.GZ", ".Nii", ".NRRD", ".MHA"])
def test_a_suffix_in_capitals(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"Case7{suffix}"
    write_volume(volume(), path)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    np.testing.assert_array_equal(sitk.GetArrayFromImage(read_ct(path)), sitk.GetArrayFromImage(volume()))


@pytest.mark.parametrize("place", [b"labels\xff.nii.gz", b"folder\xff/labels.nii.gz"])
def test_names_that_are_not_in_utf_8(tmp_path: Path, place: bytes) -> None:
    """ITK ends the process, without an exception, if it is given one."""
    with pytest.raises(InputError, match="expected names of file and folders in UTF-8; rename them"):
        write_volume(volume(), tmp_path / os.fsdecode(place))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_axes_that_are_not_at_right_angles(tmp_path: Path, suffix: str) -> None:
    path, tilted = tmp_path / f"ct{suffix}", volume()
    tilted.SetDirection((1, 0, 0, 0, 1, 0.2, 0, 0, 0.98))
    sitk.WriteImage(tilted, str(path))
    with pytest.raises(InputError, match=r"expected axes at right angles, got a cosine of 0.2 .*tilted.*dcm2niix"):
        read_ct(path)


def test_a_negative_spacing_runs_the_other_way(tmp_path: Path) -> None:
    path, ct = tmp_path / "ct.mha", volume()
    ct.SetDirection((1, 0, 0, 0, 1, 0, 0, 0, 1))
    sitk.WriteImage(ct, str(path))
    path.write_bytes(path.read_bytes().replace(b"ElementSpacing = 0.", b"ElementSpacing = -0."))
    read = read_ct(path)
    assert read.TransformIndexToPhysicalPoint((4, 3, 2)) == pytest.approx((-10.5 - 4 * 0.7, 20.25 + 3 * 0.8, 303))
    assert read.GetSpacing() == pytest.approx((0.7, 0.8, 1.5))
