"""Small patients written with highdicom as TCIA publishes Colorectal-Liver-Metastases: a CT series and a DICOM-SEG."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pydicom
import SimpleITK as sitk
from highdicom import PixelMeasuresSequence, PlaneOrientationSequence, PlanePositionSequence
from highdicom.seg import Segmentation, SegmentDescription
from pydicom.dataset import FileDataset
from pydicom.pixels import pack_bits
from pydicom.sr.codedict import codes
from pydicom.uid import generate_uid

from ltvs.volume.case import Case
from support.file_templates import copy_of
from support.ircadb_layout import write_series
from support.tiny_cases import tiny_case


def segments_of(case: Case) -> dict[str, np.ndarray]:
    """Return the masks of a case as the published segments, (d, h, w) each: two vessel trees, two tumors."""
    liver, vessel, tumor = (sitk.GetArrayFromImage(mask) > 0 for mask in (case.liver, case.vessel, case.tumor))
    left = np.arange(liver.shape[2]) % 2 == 0
    low = (np.arange(liver.shape[0]) < 10)[:, None, None]
    return {
        "Liver": liver,
        "Liver Remnant": liver & left,
        "Hepatic": vessel & left,
        "Portal": vessel & ~left,
        "Tumor_1": tumor & low,
        "Tumor_2": tumor & ~low,
    }


def write_ct(folder: Path, case: Case, patient: str, **tags: object) -> list[FileDataset]:
    """Write the CT series of a patient, with all tags that highdicom needs; return its slices in order of position."""
    usual = {
        "PatientID": patient,
        "PatientName": "test^patient",
        "PatientBirthDate": "",
        "PatientSex": "",
        "StudyInstanceUID": generate_uid(entropy_srcs=[patient]),
        "StudyID": "",
        "StudyDate": "20200101",
        "StudyTime": "120000",
        "AccessionNumber": "",
        "ReferringPhysicianName": "",
        "FrameOfReferenceUID": generate_uid(entropy_srcs=[patient, "frame"]),
        "SeriesInstanceUID": generate_uid(),
        "AcquisitionNumber": 1,
    }
    return write_series(folder, case.ct, file_name="1-{:03d}.dcm", **(usual | tags))


def write_seg(
    path: Path,
    slices: Sequence[FileDataset],
    segments: dict[str, np.ndarray],
    changed: Callable[[Segmentation], None] | None = None,
    flip_rows: bool = False,
    crop: tuple[slice, slice, slice] = (slice(None),) * 3,
    probability: float | None = None,
) -> Path:
    """Write a DICOM-SEG of some segments of a CT; empty frames are left out.

    Args:
        path: file to write.
        slices: CT slices that the frames refer to, in the order of the arrays.
        segments: masks (d, h, w) by label.
        changed: edits the segmentation before it is written.
        flip_rows: store each frame upside down, with the orientation to match.
        crop: part of (d, h, w) that the frames show.
        probability: of all voxels in the masks, for a segmentation of probabilities.
    """
    array = np.stack(list(segments.values()), axis=-1).astype(np.uint8)[crop]
    kept = list(slices)[crop[0]]
    spacing = [float(mm) for mm in kept[0].PixelSpacing]
    rows = range(*crop[1].indices(int(kept[0].Rows)))
    first_row, first_column = (rows[-1] if flip_rows else rows[0]), crop[2].indices(int(kept[0].Columns))[0]
    shift = (first_column * spacing[1], first_row * spacing[0], 0)
    positions = [PlanePositionSequence("PATIENT", np.add(x.ImagePositionPatient, shift)) for x in kept]
    path.parent.mkdir(parents=True, exist_ok=True)
    segmentation = Segmentation(
        source_images=kept,
        pixel_array=(array[:, ::-1] if flip_rows else array) * (1 if probability is None else probability),
        segmentation_type="BINARY" if probability is None else "FRACTIONAL",
        segment_descriptions=[
            SegmentDescription(number, label, codes.SCT.Organ, codes.SCT.Liver, "MANUAL")
            for number, label in enumerate(segments, start=1)
        ],
        series_instance_uid=generate_uid(),
        series_number=300,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer="crossattn3d tests",
        manufacturer_model_name="tests",
        software_versions="1",
        device_serial_number="1",
        plane_orientation=PlaneOrientationSequence("PATIENT", (1, 0, 0, 0, -1 if flip_rows else 1, 0)),
        plane_positions=positions,
        pixel_measures=PixelMeasuresSequence(spacing, float(kept[0].SliceThickness)),
    )
    if changed:
        changed(segmentation)
    segmentation.save_as(path)
    return path


def reorder_frames(segmentation: Segmentation, order: Sequence[int]) -> None:
    """Store the frames, and the description of each, in another order."""
    frames = segmentation.pixel_array
    groups = segmentation.PerFrameFunctionalGroupsSequence
    segmentation.PixelData = pack_bits(frames[list(order)].ravel())
    segmentation.PerFrameFunctionalGroupsSequence = pydicom.Sequence([groups[k] for k in order])


def write_patient(root: Path, number: int = 1001, **seg_options: object) -> Path:
    """Write a patient in the folders that the NBIA data retriever makes; return the folder of the study."""
    study = root / "Colorectal-Liver-Metastases" / f"CRLM-CT-{number}" / "09-14-1992-NA-CT ABDOMEN-28437"
    if seg_options:
        _write_study(study, number, **seg_options)
    else:
        copy_of(study, _write_study, number)
    return study


def _write_study(study: Path, number: int, **seg_options: object) -> None:
    case = tiny_case()
    slices = write_ct(study / "101.000000-NA-40012", case, f"CRLM-CT-{number}")
    write_seg(study / "100.000000-Segmentation-23880" / "1-1.dcm", slices, segments_of(case), **seg_options)
