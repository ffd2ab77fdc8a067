"""Small patients written as 3D-IRCADb-01 is published: DICOM without extension, 8-bit masks of 0 and 255."""

import shutil
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pydicom
import SimpleITK as sitk
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid
from pydicom.valuerep import format_number_as_ds

from ltvs.volume.case import Case
from support.file_templates import copy_of
from support.tiny_cases import tiny_case


def write_series(
    folder: Path,
    volume: sitk.Image,
    upwards: bool = True,
    file_name: str = "image_{}",
    edit: Callable[[FileDataset, int], None] = lambda file, k: None,
    **tags: object,
) -> list[FileDataset]:
    """Write one file per slice, with `image_0` at the lowest position, or at the highest one unless `upwards`.

    `tags` replace the usual ones in every slice, and `edit` may change slice k.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    array = sitk.GetArrayFromImage(volume)
    series, study = generate_uid(), generate_uid()
    for k, plane in enumerate(array):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = CTImageStorage
        meta.MediaStorageSOPInstanceUID = generate_uid()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        number = k if upwards else len(array) - 1 - k
        file = FileDataset(folder / file_name.format(number), {}, file_meta=meta, preamble=b"\0" * 128)
        file.SOPClassUID, file.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
        file.Modality, file.PatientName, file.PatientID = "CT", "liver_1^patient", ""
        file.StudyInstanceUID, file.SeriesInstanceUID = study, series
        file.InstanceNumber = number
        file.SliceThickness = volume.GetSpacing()[2]
        file.ImagePositionPatient = decimals(volume.TransformIndexToPhysicalPoint((0, 0, k)))
        file.ImageOrientationPatient = decimals(np.reshape(volume.GetDirection(), (3, 3))[:, :2].T.ravel())
        file.PixelSpacing = [volume.GetSpacing()[1], volume.GetSpacing()[0]]
        file.SamplesPerPixel, file.PhotometricInterpretation = 1, "MONOCHROME2"
        file.Rows, file.Columns = plane.shape
        file.BitsAllocated = file.BitsStored = plane.itemsize * 8
        file.HighBit = file.BitsStored - 1
        file.PixelRepresentation = int(plane.dtype == np.int16)
        file.RescaleIntercept, file.RescaleSlope = 0, 1
        file.PixelData = plane.tobytes()
        if plane.dtype == np.uint8:
            file["PixelData"].VR = "OB"
        for tag, value in tags.items():
            setattr(file, tag, value)
        edit(file, k)
        pydicom.dcmwrite(folder / file_name.format(number), file)
        files.append(file)
    return files


def decimals(numbers: Iterable[float]) -> list[str]:
    """Format numbers in the 16 characters that DICOM allows for each."""
    return [format_number_as_ds(float(number)) for number in numbers]


def write_patient(folder: Path, masks: dict[str, sitk.Image], case: Case, upwards: bool = True) -> Path:
    """Write an unpacked patient; `masks` of 0 and 1 by the name of their folder."""
    write_series(folder / "PATIENT_DICOM", case.ct, upwards)
    for name, mask in masks.items():
        write_series(folder / "MASKS_DICOM" / name, mask * 255, upwards)
    write_series(folder / "LABELED_DICOM", case.liver, upwards)
    (folder / "MESHES_VTK").mkdir()
    (folder / "MESHES_VTK" / "liver.vtk").write_text("# vtk")
    return folder


def usual_masks(case: Case) -> dict[str, sitk.Image]:
    """Return liver, vessels and tumor by the folder names of the published set, and organs that are not used."""
    lower = sitk.Image(case.tumor)
    lower[:, :, : lower.GetSize()[2] // 2] = 0
    everywhere = case.liver * 0 + 1
    return {
        "liver": case.liver,
        "portalvein": case.vessel,
        "venacava": case.vessel * 0,
        "livertumor01": lower,
        "livertumor02": case.tumor - lower,
        "leftsurretumor": everywhere,
        "artery": everywhere,
    }


def zipped(folder: Path, under: str = "") -> Path:
    """Replace a folder by its zip, with `under` prefixed to every name."""
    target = folder.with_name(f"{folder.name}.zip")
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                archive.write(path, f"{under}{path.relative_to(folder)}")
    shutil.rmtree(folder)
    return target


def nested(folder: Path) -> Path:
    """Pack a patient as published: PATIENT_DICOM.zip, MASKS_DICOM.zip, ... in one zip."""
    for part in sorted(path for path in folder.iterdir() if path.is_dir()):
        zipped(part, f"{part.name}/")
    return zipped(folder, f"{folder.name}/")


def write_usual(folder: Path, name: str = "tiny", upwards: bool = True) -> Path:
    """Write an unpacked patient with the usual masks."""
    copy_of(folder, _write_usual, name, upwards)
    return folder


def _write_usual(folder: Path, name: str, upwards: bool) -> None:
    case = tiny_case(name)
    write_patient(folder, usual_masks(case), case, upwards)
