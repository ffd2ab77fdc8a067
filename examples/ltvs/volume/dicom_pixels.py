"""The pixels of a DICOM file: all that its header promises, as stored, or an error.

GDCM fills what is missing in pixels with zeros or with what is in memory, and reports nothing.
"""

import tempfile
import warnings
from pathlib import Path

import numpy as np
import pydicom
import SimpleITK as sitk
from pydicom.encaps import encapsulate, generate_frames
from pydicom.pixels import get_decoder
from pydicom.uid import RLELossless, SecondaryCaptureImageStorage, generate_uid

from ltvs.runtime.errors import InputError, itk_reason
from ltvs.volume.dicom_header import whole_number

#: Rows times columns, and those times frames, that no CT exceeds; a damaged header may claim any number.
_MOST_PIXELS, _MOST_VOXELS = 2**28, 2**32

#: The elements that decide how compressed pixels are decoded.
_LAYOUT = ("Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation")

#: Second bytes of the markers that begin the header of a frame: those of JPEG, and that of JPEG-LS.
_FRAME_HEADERS = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}


def stored_values(path: Path, dataset: pydicom.Dataset) -> np.ndarray:
    """Return the values that a file stores, before rescaling, (frames, rows, columns).

    Raises:
        InputError: the file holds no pixels of one value each, fewer or more than its header says, damaged ones, or
            ones in a compression that cannot be read.
    """
    if (samples := whole_number(path, dataset, "SamplesPerPixel", 1)) != 1:
        raise InputError(
            f"{path.parent}: expected a 3D series with one value per voxel, got {samples}; "
            "give the CT itself, one file per slice and not in color"
        )
    layout = {name: whole_number(path, dataset, name) for name in _LAYOUT if name != "HighBit"}
    layout["HighBit"] = whole_number(path, dataset, "HighBit", layout["BitsStored"] - 1)
    shape = (whole_number(path, dataset, "NumberOfFrames", 1), layout["Rows"], layout["Columns"])
    _check_layout(path, layout, shape)
    content = bytes(dataset.get_item("PixelData").value or b"")
    kind = np.dtype(f"{'ui'[layout['PixelRepresentation']]}{layout['BitsAllocated'] // 8}")
    syntax = dataset.file_meta.get("TransferSyntaxUID") if hasattr(dataset, "file_meta") else None
    if syntax is not None and syntax.is_encapsulated:
        frames = _frames(path, content, shape, jpeg=syntax != RLELossless)
        values = np.stack([_decoded(path, frame, layout, syntax) for frame in frames]).astype(kind)
    else:
        little = dataset.original_encoding[1] is not False
        values = _native(path, content, shape, kind.newbyteorder("<" if little else ">"))
    # Bits above those stored may hold an overlay, or lack the sign.
    unused = np.array(layout["BitsAllocated"] - layout["BitsStored"], kind)
    return values << unused >> unused if unused else values


def _check_layout(path: Path, layout: dict[str, int], shape: tuple[int, int, int]) -> None:
    if min(shape) < 1 or shape[1] * shape[2] > _MOST_PIXELS or shape[0] * shape[1] * shape[2] > _MOST_VOXELS:
        raise InputError(
            f"{path}: expected a CT, got {' x '.join(map(str, shape))} frames, rows and columns in the header; "
            "is it damaged? Copy it again"
        )
    allocated, stored = layout["BitsAllocated"], layout["BitsStored"]
    if (
        allocated not in (8, 16, 32)
        or not 1 <= stored <= allocated
        or layout["HighBit"] != stored - 1
        or layout["PixelRepresentation"] not in (0, 1)
    ):
        raise InputError(
            f"{path}: expected pixels of 8, 16 or 32 bits, got "
            f"{', '.join(f'{name} {layout[name]}' for name in _LAYOUT[2:])}; is it damaged? Export it again"
        )


def _native(path: Path, content: bytes, shape: tuple[int, int, int], kind: np.dtype) -> np.ndarray:
    """Return pixels that are not compressed."""
    expected = int(np.prod(shape)) * kind.itemsize
    if len(content) != expected + expected % 2:  # an odd number of bytes is padded by one
        raise InputError(
            f"{path}: is DICOM but cannot be read, is it cut short? Expected {expected} bytes of pixels as its header "
            f"says, got {len(content)}. Copy it again, or remove it"
        )
    return np.frombuffer(content, kind, int(np.prod(shape))).reshape(shape).astype(kind.newbyteorder("="), copy=False)


def _frames(path: Path, content: bytes, shape: tuple[int, int, int], jpeg: bool) -> list[bytes]:
    """Return the compressed frames, each of which has to be of the size in the header and whole if it is JPEG."""
    frames = list(generate_frames(content, number_of_frames=shape[0]))
    if len(frames) != shape[0]:
        raise InputError(f"{path}: expected {shape[0]} compressed frames, got {len(frames)}; copy it again")
    for frame in frames if jpeg else []:
        # GDCM reads a lossless JPEG without its end as if it were whole, and one of another size as if it were not.
        if not frame.rstrip(b"\0").endswith(b"\xff\xd9"):
            raise InputError(
                f"{path.parent}: the DICOM series cannot be read, the compressed pixels of {path.name} are cut short "
                "or damaged; copy it again"
            )
        if (found := _jpeg_size(frame)) != shape[1:]:
            raise InputError(
                f"{path}: expected compressed pixels of {shape[1:]} rows and columns as its header says, got {found}; "
                "is it damaged? Copy it again"
            )
    return frames


def _jpeg_size(frame: bytes) -> tuple[int, int] | None:
    """Return the rows and columns of a JPEG, JPEG-LS or JPEG 2000 stream, None if it has no such header."""
    if frame[2:4] == b"\xff\x51" and len(frame) >= 24:  # JPEG 2000 begins with the corners of the picture
        right, lower, left, upper = (int.from_bytes(frame[k : k + 4], "big") for k in (8, 12, 16, 20))
        return lower - upper, right - left
    k = 2
    while frame[k : k + 1] == b"\xff" and k + 9 <= len(frame):
        marker = frame[k + 1]
        if marker in _FRAME_HEADERS:
            rows, columns = (int.from_bytes(frame[j : j + 2], "big") for j in (k + 5, k + 7))
            return rows, columns
        k += 2 + int.from_bytes(frame[k + 2 : k + 4], "big")
    return None


def _decoded(path: Path, frame: bytes, layout: dict[str, int], syntax: pydicom.uid.UID) -> np.ndarray:
    """Return the pixels of a compressed frame.

    It is decoded on its own, with a header that says no more than that needs: GDCM would rescale by what the original
    says, for some kinds of images, and for the first frame alone.
    """
    meta = pydicom.dataset.FileMetaDataset()
    meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID, meta.TransferSyntaxUID = generate_uid(), syntax
    bare = pydicom.Dataset()
    bare.file_meta = meta
    bare.SOPClassUID, bare.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    bare.SamplesPerPixel, bare.PhotometricInterpretation = 1, "MONOCHROME2"
    for name, value in layout.items():
        setattr(bare, name, value)
    bare.PixelData = encapsulate([frame])
    try:
        values = _run_lengths(bare) if syntax == RLELossless else _by_gdcm(bare)
        return values.reshape(layout["Rows"], layout["Columns"])
    except (RuntimeError, ValueError, UserWarning) as error:
        reason = itk_reason(error) if isinstance(error, RuntimeError) else str(error)
        raise InputError(
            f"{path.parent}: the DICOM series cannot be read, {path.name} is damaged or in a compression that is not "
            f"known ({reason}); export it again without compression"
        ) from error


def _run_lengths(bare: pydicom.Dataset) -> np.ndarray:
    """Decode RLE, which GDCM refuses for frames of few pixels; a wrong count of pixels is an error, not a warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        values: np.ndarray = get_decoder(RLELossless).as_array(bare, raw=True)[0]
    return values


def _by_gdcm(bare: pydicom.Dataset) -> np.ndarray:
    with tempfile.TemporaryDirectory() as folder:
        file = str(Path(folder) / "frame.dcm")
        bare.save_as(file, enforce_file_format=True)
        values: np.ndarray = sitk.GetArrayFromImage(sitk.ReadImage(file))
    return values
