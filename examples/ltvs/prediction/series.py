"""Sort DICOM files into series by their headers alone, and find out which of them cannot be a CT of a body."""

import filecmp
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pydicom

from ltvs.runtime.errors import InputError
from ltvs.volume.dicom import is_dicom
from ltvs.volume.dicom_header import damage_told, whole_number

_TAGS = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "PatientID", "Modality", "ImageType",
         "SeriesNumber", "NumberOfFrames", "Rows", "BitsAllocated")  # fmt: skip

#: Storage classes of screenshots and scanned pages; those of several frames begin like this, too.
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
#: Modalities with pixels that are no picture of a body: --force does not make them one.
_NO_PICTURES = ("SEG", "RTDOSE", "RTIMAGE")


@dataclass(frozen=True)
class Header:
    """What the header of a DICOM file says of its series.

    Args:
        path: of the file.
        series: UIDs that all files of the series share, and its patient.
        instance: UID of the image, empty if missing.
        patient: ID.
        number: of the series.
        frames: slices in the file.
        unfit: why the file is no part of a CT, empty if it may be one; files with one reason are told of together.
        modality: CT, ...; empty if missing.
        has_bytes: whether a voxel is a byte, as in masks and pictures; HU need two.
    """

    path: Path
    series: tuple[str, ...]
    instance: str
    patient: str
    number: str
    frames: int
    unfit: str
    modality: str
    has_bytes: bool


def read_header(path: Path) -> Header | None:
    """Return what a file says of its series; None if it is not DICOM.

    Raises:
        InputError: it is DICOM, but cut short or damaged.
    """
    with damage_told(path):
        says_so = is_dicom(path)
    try:
        with damage_told(path):
            found = pydicom.dcmread(path, force=True, stop_before_pixels=True, specific_tags=list(_TAGS))
            words = {tag: str(found.get(tag) or "").strip(" \0") for tag in _TAGS}
            kinds = [str(kind).upper() for kind in found.get("ImageType") or ()]
            frames = whole_number(path, found, "NumberOfFrames", 1)
    except InputError:
        if says_so:
            raise
        return None
    if not says_so and "Rows" not in found:
        return None
    modality = words["Modality"].upper()
    if "Rows" not in found and not modality:
        raise InputError(f"{path}: is DICOM but cannot be read, is it cut short? Copy it again, or remove it")
    # Without UIDs, the files of a folder count as a series.
    uids = words["StudyInstanceUID"], words["SeriesInstanceUID"] or str(path.parent), words["PatientID"]
    unfit = _unfit("Rows" in found, modality, words["SOPClassUID"], kinds)
    return Header(
        path=path,
        series=uids,
        instance=words["SOPInstanceUID"],
        patient=words["PatientID"],
        number=words["SeriesNumber"],
        frames=frames,
        unfit=unfit,
        modality=modality,
        has_bytes=words["BitsAllocated"] == "8",
    )


def _unfit(has_image: bool, modality: str, kind: str, image_type: Sequence[str]) -> str:
    """Return why a file cannot be a slice, whatever its modality; empty if it can."""
    if not has_image:
        return f"DICOM without an image, {modality}"
    if kind.startswith(_SECONDARY_CAPTURE):
        return "secondary capture"
    if modality in _NO_PICTURES:
        return f"DICOM of kind {modality}"
    return "localizer" if "LOCALIZER" in image_type else ""


def sort_into_series(headers: Iterable[Header]) -> list[list[Header]]:
    """Return the slices of each series in the order of their paths, each image once; series in that order, too."""
    groups: dict[tuple[str, ...], list[Header]] = defaultdict(list)
    for header in sorted(headers, key=lambda one: one.path):
        groups[header.series].append(header)
    return [_once(group) for group in groups.values()]


def _once(group: Sequence[Header]) -> list[Header]:
    """Leave out files that are copies of others, as exports hold them in two folders."""
    kept: dict[str, list[Header]] = defaultdict(list)
    for one in group:
        same = kept[one.instance]
        if not any(one.instance and filecmp.cmp(one.path, other.path, shallow=False) for other in same):
            same.append(one)
    return sorted((one for same in kept.values() for one in same), key=lambda one: one.path)
