"""A CT written as one multi-frame Enhanced CT file, as newer scanners export it."""

from pathlib import Path

import numpy as np
import SimpleITK as sitk
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import EnhancedCTImageStorage, ExplicitVRLittleEndian, generate_uid

from support.ircadb_layout import decimals


def write_frames(folder: Path, volume: sitk.Image, order: list[int] | None = None) -> FileDataset:
    """Write one file whose frame k shows slice `order[k]`; return the data set, for tests to damage and save again."""
    folder.mkdir(parents=True)
    array = sitk.GetArrayFromImage(volume)
    order = list(range(len(array))) if order is None else order
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = EnhancedCTImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file = FileDataset(folder / "ct.dcm", {}, file_meta=meta, preamble=b"\0" * 128)
    file.SOPClassUID, file.SOPInstanceUID = EnhancedCTImageStorage, meta.MediaStorageSOPInstanceUID
    file.StudyInstanceUID, file.SeriesInstanceUID = generate_uid(), generate_uid()
    file.Modality, file.PatientID, file.InstanceNumber = "CT", "1", 1
    file.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    file.SamplesPerPixel, file.PhotometricInterpretation = 1, "MONOCHROME2"
    file.NumberOfFrames, file.Rows, file.Columns = array.shape
    file.BitsAllocated = file.BitsStored = 16
    file.HighBit, file.PixelRepresentation = 15, 1
    measures = dataset(
        PixelSpacing=decimals(volume.GetSpacing()[1::-1]), SliceThickness=decimals([volume.GetSpacing()[2]])[0]
    )
    axes = np.reshape(volume.GetDirection(), (3, 3))[:, :2].T.ravel()
    file.SharedFunctionalGroupsSequence = [
        dataset(
            PixelMeasuresSequence=[measures],
            PlaneOrientationSequence=[dataset(ImageOrientationPatient=decimals(axes))],
            PixelValueTransformationSequence=[dataset(RescaleIntercept=-1024, RescaleSlope=1, RescaleType="HU")],
        )
    ]
    file.PerFrameFunctionalGroupsSequence = [
        dataset(
            PlanePositionSequence=[
                dataset(ImagePositionPatient=decimals(volume.TransformIndexToPhysicalPoint((0, 0, k))))
            ],
            FrameContentSequence=[dataset(StackID="1", InStackPositionNumber=n + 1, DimensionIndexValues=[1, n + 1])],
        )
        for n, k in enumerate(order)
    ]
    # HU are stored 1024 higher, as scanners do.
    file.PixelData = (array[order] + 1024).astype(np.int16).tobytes()
    file.save_as(folder / "ct.dcm")
    return file


def dataset(**elements: object) -> Dataset:
    made = Dataset()
    for name, value in elements.items():
        setattr(made, name, value)
    return made
