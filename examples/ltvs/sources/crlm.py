"""TCIA's Colorectal-Liver-Metastases: a CT as DICOM and one DICOM-SEG for each patient.

    Colorectal-Liver-Metastases/CRLM-CT-1001/STUDY/SERIES/*.dcm      as the NBIA data retriever lays them out

Folders and names depend on how it was downloaded, so files are identified by modality, patient and series.
Segments are Liver, Liver Remnant, Hepatic, Portal and Tumor_1, Tumor_2, ...
"""

import re
import shutil
import tempfile
from collections import defaultdict
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pydicom
import SimpleITK as sitk
from highdicom.seg import Segmentation

from ltvs.runtime.errors import InputError
from ltvs.sources import Entry, Source
from ltvs.sources.acquisitions import CTSlice, select_acquisition
from ltvs.volume.case import Case
from ltvs.volume.dicom import is_dicom
from ltvs.volume.dicom_header import damage_told
from ltvs.volume.dicom_seg import place_segments, read_segmentation, references, segment_labels
from ltvs.volume.grids import Grid
from ltvs.volume.images import read_ct
from ltvs.volume.labels import Structure

_PATIENT = re.compile(r"CRLM-CT-(\d+)", re.IGNORECASE)
_STRUCTURES: dict[str, Structure] = {"liver": "liver", "hepatic": "vessel", "portal": "vessel"}
_TUMOR = re.compile(r"tumor( \d+)?")
_REMNANT = "liver remnant"

#: The tags that are read when files are searched.
_TAGS = [
    "Modality",
    "PatientID",
    "SeriesInstanceUID",
    "SOPInstanceUID",
    "AcquisitionNumber",
    "AcquisitionTime",
    "ImagePositionPatient",
    "ImageOrientationPatient",
]


@dataclass
class PatientFiles:
    """The files of one patient.

    Args:
        series: CT slices by series instance UID.
        segmentations: DICOM-SEG files.
        damaged: reasons why files in the folders of this patient cannot be used.
    """

    series: dict[str, list[CTSlice]] = field(default_factory=lambda: defaultdict(list))
    segmentations: list[Path] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)

    def all(self) -> tuple[Path, ...]:
        """Return CT slices and segmentations, sorted."""
        slices = [one.path for slices in self.series.values() for one in slices]
        return tuple(sorted(slices + self.segmentations))


def crlm(path: Path) -> Source:
    """List the patients whose files lie anywhere in a folder.

    Raises:
        InputError: no DICOM segmentation and no CT slice is found, or two patients would get one name.
    """
    cases: Source = {}
    for patient, files in sorted(_search(path).items()):
        number = _PATIENT.fullmatch(patient)
        # An id is free text: characters that a file name cannot hold are replaced.
        name = f"crlm-{number[1]}" if number else re.sub(r"[^\w-]+", "_", patient)
        if name in cases:
            raise InputError(f"{path}: expected patients whose ids differ in letters or digits, got {name} twice")
        cases[name] = Entry(partial(load_case, name, files), name, files.all())
    if not cases:
        raise InputError(f"{path}: expected DICOM files of CTs and segmentations in it, found none")
    return cases


def load_case(name: str, files: PatientFiles) -> Case:
    """Read one patient.

    Args:
        name: of the case.
        files: of the patient.

    Raises:
        InputError: there is not exactly one segmentation, the CT that it shows cannot be identified or read, the two do
            not lie on one grid, or a structure is missing.
    """
    if files.damaged:
        raise InputError(f"{name}: {files.damaged[0]}")
    if len(files.segmentations) != 1:
        got = ", ".join(map(str, files.segmentations)) or "none"
        raise InputError(f"{name}: expected one DICOM segmentation, got {got}; download the patient again")
    path = files.segmentations[0]
    segmentation = read_segmentation(path)
    with damage_told(path):
        numbers = _numbers(path, segmentation)
        series, instances = references(segmentation)
    slices = [found for uid, found in files.series.items() if not series or uid in series]
    if len(slices) != 1:
        raise InputError(
            f"{name}: expected the one CT series that {path.name} refers to, found {len(slices) or 'none'} of it among "
            f"{len(files.series)} CT series; download the patient again"
        )
    ct = _read_slices(select_acquisition(slices[0], instances))
    with damage_told(path):
        masks = place_segments(path, segmentation, numbers, Grid.of(ct))
    return Case(name, ct, masks["liver"], masks["vessel"], masks["tumor"])


def structure_of(label: str) -> Structure | None:
    """Return the structure that a segment shows, or None for the remnant, a part of the liver in the surgical plan.

    Raises:
        InputError: the label is not one of this collection.

    Example:
        >>> structure_of("Tumor_12"), structure_of("Hepatic"), structure_of("Liver Remnant")
        ('tumor', 'vessel', None)
    """
    name = label.lower().replace("_", " ").strip()
    if _TUMOR.fullmatch(name):
        return "tumor"
    if name not in _STRUCTURES and name != _REMNANT:
        raise InputError(
            f"segment {label!r} is not known; expected Liver, Liver Remnant, Hepatic, Portal and Tumor_1, Tumor_2, ..."
        )
    return _STRUCTURES.get(name)


def _numbers(path: Path, segmentation: Segmentation) -> dict[Structure, list[int]]:
    """Return the numbers of the segments of each structure; networks would learn a missing one as background."""
    labels = segment_labels(segmentation)
    numbers: dict[Structure, list[int]] = {"liver": [], "vessel": [], "tumor": []}
    try:
        for number, label in labels.items():
            if structure := structure_of(label):
                numbers[structure].append(number)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    names = {label.lower() for label in labels.values()}
    missing = [name for name in ("Liver", "Hepatic", "Portal") if name.lower() not in names]
    missing += [] if numbers["tumor"] else ["Tumor_1"]
    if missing:
        raise InputError(f"{path}: expected segments {', '.join(missing)}; got {', '.join(labels.values())}")
    return numbers


def _read_slices(slices: list[CTSlice]) -> sitk.Image:
    """Read some files of a folder as a volume, through links in a folder without the others."""
    with tempfile.TemporaryDirectory(prefix="series-") as folder:
        for k, one in enumerate(slices):
            _show(one.path.resolve(), Path(folder) / f"{k:05d}")
        try:
            return read_ct(Path(folder))
        except InputError as error:
            raise InputError(str(error).replace(folder, str(slices[0].path.parent))) from error


def _show(source: Path, place: Path) -> None:
    """Link to a file, or copy it where a system or a file system has no links for everybody."""
    try:
        place.symlink_to(source)
    except OSError:
        shutil.copyfile(source, place)


def _search(path: Path) -> dict[str, PatientFiles]:
    """Return the files of every patient anywhere in a folder."""
    patients: dict[str, PatientFiles] = defaultdict(PatientFiles)
    folders: dict[Path, set[str]] = defaultdict(set)
    damaged: list[tuple[Path, str]] = []
    for file in sorted(path.rglob("*")):
        try:
            if not file.is_file() or file.name.startswith("._") or not is_dicom(file):
                continue
            header = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=list(_TAGS))
            modality, who = header.Modality, str(header.PatientID).strip()
            if modality == "CT":
                patients[who].series[str(header.SeriesInstanceUID)].append(CTSlice.of(file, header))
            elif modality == "SEG":
                patients[who].segmentations.append(file)
            folders[file.parent].add(who)
        except InputError as error:
            damaged.append((file, str(error)))
        except Exception as error:  # what a damaged header raises depends on where it is damaged
            damaged.append((file, f"{file}: is DICOM but cannot be read ({error}); download it again, or remove it"))
    for file, reason in damaged:
        for who in folders[file.parent]:
            patients[who].damaged.append(reason)
    return patients
