"""The series that a segmentation refers to: what is filled where it is missing, and what is an error."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest

from ltvs.delivery.source_series import source_series
from ltvs.runtime.errors import InputError
from ltvs.volume.grids import Grid, crop_grid
from support.crlm_layout import write_ct
from support.ircadb_layout import write_series
from support.tiny_cases import tiny_case

GRID = Grid.of(tiny_case().ct)


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    write_ct(tmp_path / "ct", tiny_case(), "p1")
    return sorted((tmp_path / "ct").iterdir())[::-1]


def changed(file: Path, change: Callable[[pydicom.Dataset], None]) -> None:
    dataset = pydicom.dcmread(file)
    change(dataset)
    dataset.save_as(file)


def test_headers_are_in_the_order_of_the_grid(files: list[Path]) -> None:
    found = source_series(files, GRID)
    np.testing.assert_allclose(found.positions, [GRID.physical((0, 0, k)) for k in range(GRID.size[2])], atol=1e-6)
    np.testing.assert_allclose([header.ImagePositionPatient for header in found.headers], found.positions)
    assert "PixelData" not in found.headers[0]


def test_what_anonymization_removed_is_filled(tmp_path: Path) -> None:
    """Without PatientID, StudyDate and the like, and without FrameOfReferenceUID, which all slices then share."""

    def anonymized(dataset: pydicom.Dataset, _: int) -> None:
        del dataset.PatientName, dataset.PatientID, dataset.SOPClassUID, dataset.SOPInstanceUID

    write_series(tmp_path / "ct", tiny_case().ct, edit=anonymized)
    headers = source_series([*(tmp_path / "ct").iterdir()], GRID).headers
    assert {header.PatientID for header in headers} == {""}
    assert len({header.FrameOfReferenceUID for header in headers}) == 1
    assert [header.SOPInstanceUID for header in headers] == [
        header.file_meta.MediaStorageSOPInstanceUID for header in headers
    ]


@pytest.mark.parametrize("name", ["StudyInstanceUID", "SeriesInstanceUID"])
def test_what_cannot_be_filled_is_an_error(files: list[Path], name: str) -> None:
    changed(files[3], lambda dataset: delattr(dataset, name))
    with pytest.raises(InputError, match=rf"1-017\.dcm: expected a {name}, which a DICOM-SEG has to refer to, got"):
        source_series(files, GRID)


def test_rounding_of_orientations_and_a_thickness_of_their_own_are_no_error(files: list[Path]) -> None:
    def slightly(dataset: pydicom.Dataset) -> None:
        dataset.ImageOrientationPatient = [1, 1e-6, 0, 0, 1, 0]
        del dataset.SliceThickness

    changed(files[3], slightly)
    headers = source_series(files, GRID).headers
    assert {tuple(header.ImageOrientationPatient) for header in headers} == {(1, 0, 0, 0, 1, 0)}
    assert {float(header.SliceThickness) for header in headers} == {GRID.spacing[2]}


def test_files_that_are_not_those_of_the_grid(files: list[Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="DICOM-SEG: expected the files of the CT's series, got none"):
        source_series([], GRID)
    with pytest.raises(InputError, match=r"ct: expected 21 slices, as the labels have, got 20; slice 21 is missing"):
        source_series(files[1:], GRID)
    with pytest.raises(InputError, match=r"1-020\.dcm: expected one slice at a position, got two at slice 21"):
        source_series([*files, files[0]], GRID)
    smaller = crop_grid(GRID, (0, 0, 0), (27, 25, 21))
    with pytest.raises(InputError, match=r"expected a slice of the labels' grid, 27 x 25 x 21; got 28 x 25, off by 0"):
        source_series(files, smaller)
    aside = Grid(GRID.size, GRID.spacing, tuple(GRID.physical((0.5, 0, 0))), GRID.direction)
    with pytest.raises(InputError, match=r"got 28 x 25, off by 0\.5 voxels; are the labels of another CT\?"):
        source_series(files, aside)


@pytest.mark.parametrize("name", ["SeriesInstanceUID", "StudyInstanceUID", "PatientID", "FrameOfReferenceUID"])
def test_files_that_are_not_of_one_series(files: list[Path], name: str) -> None:
    changed(files[3], lambda dataset: setattr(dataset, name, "1.2.3"))
    with pytest.raises(InputError, match=f"ct: expected files of one {name}, got 2; give one series"):
        source_series(files, GRID)


def test_files_that_share_a_uid(files: list[Path]) -> None:
    for file in files[:3]:
        changed(file, lambda dataset: setattr(dataset, "SOPInstanceUID", "1.2.3"))
    with pytest.raises(InputError, match="ct: expected a SOPInstanceUID of its own for each of 21 files, got 19;"):
        source_series(files, GRID)


def test_files_that_cannot_be_read(files: list[Path], tmp_path: Path) -> None:
    (tmp_path / "x").write_text("no DICOM")
    with pytest.raises(InputError, match=r"x: expected a slice of the CT in DICOM, got no image"):
        source_series([tmp_path / "x"], GRID)
    with pytest.raises(InputError, match=r"missing: cannot be read \(No such file or directory\)"):
        source_series([tmp_path / "missing"], GRID)
