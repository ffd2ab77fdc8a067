"""DICOM files recompressed in place, with the header that they had."""

import locale
import tempfile
from pathlib import Path

import pydicom
import SimpleITK as sitk
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEGLSLossless, RLELossless

#: Compressions that CTs come in: the first two are GDCM's, which pydicom cannot write.
COMPRESSIONS = ["JPEG", "JPEG2000", "JPEG-LS", "RLE", "deflated"]


def compress(file: Path, compression: str) -> None:
    """Compress the pixels of a file without loss; deflation takes the header in."""
    dataset = pydicom.dcmread(file)
    if compression == "deflated":
        dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    elif compression in ("RLE", "JPEG-LS"):
        dataset.compress(RLELossless if compression == "RLE" else JPEGLSLossless, generate_instance_uid=False)
    else:
        with tempfile.TemporaryDirectory() as folder:
            writer = sitk.ImageFileWriter()
            writer.SetImageIO("GDCMImageIO")
            writer.SetFileName(f"{folder}/slice.dcm")
            writer.SetUseCompression(True)
            writer.SetCompressor(compression)
            before = locale.setlocale(locale.LC_ALL)
            writer.Execute(sitk.ReadImage(str(file)))
            # GDCM leaves another one, in which Python reads no file but those in ASCII.
            locale.setlocale(locale.LC_ALL, before)
            written = pydicom.dcmread(f"{folder}/slice.dcm")
        dataset.PixelData = written.PixelData
        dataset["PixelData"].is_undefined_length = True
        dataset.file_meta.TransferSyntaxUID = written.file_meta.TransferSyntaxUID
    dataset.save_as(file)
