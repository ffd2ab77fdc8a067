"""A CT of any number of slices, made of a real one by going up and down through it, as a folder of DICOM files."""

import copy
from pathlib import Path

import numpy as np
import pydicom
from pydicom.uid import generate_uid


def write_long_ct(series: Path, slices: int, folder: Path) -> Path:
    """Write so many slices of a DICOM series, turning round at its ends, and return the folder.

    Args:
        series: folder with one file per slice, all of one series.
        slices: to write.
        folder: to create.
    """
    files = [pydicom.dcmread(path) for path in sorted(series.iterdir())]
    normal = np.cross(*np.reshape(files[0].ImageOrientationPatient, (2, 3)))
    files.sort(key=lambda file: float(np.dot(file.ImagePositionPatient, normal)))
    first, second = (np.array(file.ImagePositionPatient, float) for file in files[:2])
    folder.mkdir()
    for k in range(slices):
        there = k % (2 * len(files))
        file = copy.copy(files[min(there, 2 * len(files) - 1 - there)])
        file.ImagePositionPatient = [f"{mm:.6g}" for mm in first + k * (second - first)]
        file.InstanceNumber = k + 1
        file.SOPInstanceUID = file.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        file.save_as(folder / f"{k:04d}.dcm")
    return folder
