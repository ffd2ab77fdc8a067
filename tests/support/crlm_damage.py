"""Damage to a downloaded patient of Colorectal-Liver-Metastases, each as a function of the folder of the study."""

from collections.abc import Callable
from pathlib import Path

import pydicom
from pydicom.uid import generate_uid

from support.crlm_layout import segments_of, write_seg
from support.tiny_cases import tiny_case

CASE = tiny_case()


def edit(path: Path, change: Callable[[pydicom.Dataset], None]) -> None:
    dataset = pydicom.dcmread(path)
    change(dataset)
    dataset.save_as(path)


def without(*labels: str) -> Callable[[Path], None]:
    def write(study: Path) -> None:
        rewrite(study, {label: mask for label, mask in segments_of(CASE).items() if label not in labels})

    return write


def rewrite(study: Path, segments: dict, **options: object) -> None:
    """The segmentation of a patient anew, of its own CT."""
    slices = sorted((pydicom.dcmread(p) for p in study.glob("*-NA-*/*.dcm")), key=lambda x: x.ImagePositionPatient[2])
    write_seg(seg_of(study), slices, segments, **options)


def seg_of(study: Path) -> Path:
    return study / "100.000000-Segmentation-23880" / "1-1.dcm"


def renamed(study: Path) -> None:
    rewrite(study, {label.replace("Tumor_2", "Lesion"): mask for label, mask in segments_of(CASE).items()})


def half_a_pixel_aside(study: Path) -> None:
    def move(dataset: pydicom.Dataset) -> None:
        for group in dataset.PerFrameFunctionalGroupsSequence:
            group.PlanePositionSequence[0].ImagePositionPatient[0] += 0.65

    edit(seg_of(study), move)


def one_slice_up(study: Path) -> None:
    def move(dataset: pydicom.Dataset) -> None:
        for group in dataset.PerFrameFunctionalGroupsSequence:
            group.PlanePositionSequence[0].ImagePositionPatient[2] += 2.0 * 10

    edit(seg_of(study), move)


def coarser(study: Path) -> None:
    edit(seg_of(study), lambda d: set_spacing(d, [3.0, 2.6]))


def set_spacing(dataset: pydicom.Dataset, spacing: list[float]) -> None:
    dataset.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing = spacing


def uneven(study: Path) -> None:
    def move(dataset: pydicom.Dataset) -> None:
        dataset.PerFrameFunctionalGroupsSequence[3].PlanePositionSequence[0].ImagePositionPatient[2] += 0.6

    edit(seg_of(study), move)


def far_away(study: Path) -> None:
    """A million slices would lie between."""

    def move(dataset: pydicom.Dataset) -> None:
        dataset.PerFrameFunctionalGroupsSequence[3].PlanePositionSequence[0].ImagePositionPatient[2] += 2e6

    edit(seg_of(study), move)


def another_series(study: Path) -> None:
    series = generate_uid()
    for path in study.glob("*-NA-*/*.dcm"):
        edit(path, lambda d: setattr(d, "SeriesInstanceUID", series))


def cut_short(path: Path, keep: float) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content))])


def without_position(study: Path) -> None:
    edit(sorted(study.glob("*-NA-*/*.dcm"))[4], lambda d: d.pop("ImagePositionPatient"))
