"""Reading one DICOM series; what SimpleITK would pass over with a warning is an error here."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ltvs.errors import InputError, itk_reason


def read_series(folder: Path) -> sitk.Image:
    """The one series of a folder as a volume, slices in the order of their positions, not of their names.

    Raises:
        InputError: none or several series, a file that cannot be read, a slice that is missing, or colour.
    """
    series = sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(folder))
    if not series:
        raise InputError(f"{folder}: no DICOM series found in this folder")
    if len(series) > 1:
        raise InputError(f"{folder}: holds {len(series)} DICOM series; give a folder with one")
    files = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), series[0])
    _check_all_read(folder, files)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(files)
    reader.MetaDataDictionaryArrayUpdateOn()
    try:
        volume = reader.Execute()
    except RuntimeError as error:
        raise InputError(f"{folder}: the DICOM series cannot be read ({itk_reason(error)})") from error
    if volume.GetDimension() != 3 or volume.GetNumberOfComponentsPerPixel() != 1:
        raise InputError(f"{folder}: expected a 3D series with one value per voxel")
    _check_evenly_spaced(folder, reader, len(files))
    return volume


def _check_all_read(folder: Path, files: Sequence[str]) -> None:
    """GDCM leaves out a slice that was cut short without a word: all that calls itself DICOM has to be there."""
    read = {Path(file).name for file in files}
    for path in sorted(folder.iterdir()):
        if path.name in read or path.name.upper() == "DICOMDIR" or not path.is_file():
            continue
        with path.open("rb") as file:
            if file.read(132)[128:] == b"DICM":
                raise InputError(f"{path}: is DICOM but cannot be read, is it cut short? Copy it again, or remove it")


def _check_evenly_spaced(folder: Path, reader: sitk.ImageSeriesReader, count: int) -> None:
    """ITK only warns where a slice is missing, and then every slice above lies in the wrong place."""
    if count < 2 or not all(reader.HasMetaDataKey(k, "0020|0032") for k in range(count)):
        return
    positions = np.array([[float(mm) for mm in reader.GetMetaData(k, "0020|0032").split("\\")] for k in range(count)])
    steps = np.linalg.norm(np.diff(positions, axis=0), axis=1)
    middle = float(np.median(steps))
    worst = int(np.abs(steps - middle).argmax())
    # A tenth of a slice is more than rounding of positions does, and less than anything that is missing.
    if abs(steps[worst] - middle) > 0.1 * middle:
        raise InputError(
            f"{folder}: expected evenly spaced slices, {middle:g} mm; got {steps[worst]:g} mm between slice "
            f"{worst + 1} and {worst + 2}; is a slice missing?"
        )
