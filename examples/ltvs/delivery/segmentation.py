"""Label maps as DICOM segmentations that refer to the slices of the CT, with coded terms, for archives of hospitals."""

import warnings
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from highdicom import UID, AlgorithmIdentificationSequence, PlanePositionSequence
from highdicom.color import CIELabColor
from highdicom.seg import Segmentation, SegmentDescription
from jaxtyping import Bool, Int
from numpy import ndarray
from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

import crossattn3d
from ltvs.delivery.source_series import SourceSeries, source_series
from ltvs.runtime.errors import InputError, one_line
from ltvs.runtime.files import atomic_path
from ltvs.volume.grids import Grid
from ltvs.volume.labels import COLORS, Structure, structure_mask

#: Category, type and region of each structure, in the order of the segments: SNOMED CT, as of CID 7150 and 7151.
TERMS: dict[Structure, tuple[Code, Code, Code | None]] = {
    "liver": (codes.cid7150.AnatomicalStructure, codes.SCT.Liver, None),
    "vessel": (codes.cid7150.AnatomicalStructure, codes.SCT.BloodVessel, codes.SCT.Liver),
    "tumor": (codes.cid7150.MorphologicallyAbnormalStructure, codes.SCT.Neoplasm, codes.SCT.Liver),
}

_NAME = "crossattn3d"

#: Characters of a text of DICOM's kind LO, and the largest number of its kind IS.
_LONGEST, _LARGEST = 64, 2**31 - 1


def write_segmentation(labels: sitk.Image, slices: Sequence[Path], path: Path, *, origin: str = "") -> None:
    """Write a label map as DICOM-SEG of one binary segment per structure, atomically.

    The segment of the liver is the whole organ, with the vessels and tumors in it. Segments are numbered from 1 on.
    Structures and frames without voxels are left out. Patient and study are those of the CT. Fields that the CT lacks
    stay empty if DICOM allows that.

    Args:
        labels: a label map of the pipeline, on the grid of the CT.
        slices: the files of the CT's series in any order, or the one file of an Enhanced CT.
        path: the file to write.
        origin: the origin of the networks for the description of the algorithm, 64 characters at most.

    Raises:
        ValueError: the origin is longer than DICOM allows.
        InputError: there are no labels, a file is no slice of the series, lacks what a segmentation has to refer to or
            is on another grid, or the segmentation cannot be written.
    """
    if len(origin) > _LONGEST:
        raise ValueError(
            f"write_segmentation: expected an origin of {_LONGEST} characters, got {len(origin)}: {origin}"
        )
    array = sitk.GetArrayViewFromImage(labels)
    # Slices without labels would be left out in any case, and take memory until then.
    kept = np.flatnonzero(array.any(axis=(1, 2)))
    if not kept.size:
        raise InputError(f"{path}: expected labels above 0 to write as DICOM-SEG, got none")
    source = source_series(slices, Grid.of(labels))
    array = array[kept]
    present = {name: mask for name in TERMS if (mask := structure_mask(array, name)).any()}
    arguments, content = _arguments(source, kept, present, origin), BytesIO()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            Segmentation(**arguments).save_as(content)
    except MemoryError:
        raise
    except Exception as error:  # what a header that breaks DICOM's rules raises depends on where it breaks them
        raise InputError(
            f"{slices[0].parent}: its headers cannot be taken over to a DICOM-SEG ({type(error).__name__}: "
            f"{one_line(error)[:200]}); export the series again"
        ) from error
    with atomic_path(path) as temporary:
        temporary.write_bytes(content.getbuffer())


def _arguments(
    source: SourceSeries, kept: Int[ndarray, " k"], masks: Mapping[Structure, Bool[ndarray, "k h w"]], origin: str
) -> dict[str, Any]:
    """Return what makes the data set of a segmentation with one segment per mask.

    Args:
        source: series of the CT.
        kept: slices of the CT that the masks show.
        masks: by structure.
        origin: of the networks.
    """
    version = crossattn3d.__version__
    algorithm = AlgorithmIdentificationSequence(
        name=f"{_NAME}: liver, vessels and tumors by two networks",
        family=codes.DCM.ArtificialIntelligence,
        version=version,
        source=origin or None,
    )
    descriptions = []
    for number, name in enumerate(masks, 1):
        category, kind, region = TERMS[name]
        color = CIELabColor.from_rgb(*(255 * part for part in COLORS[name]))
        regions = None if region is None else [region]
        descriptions.append(
            SegmentDescription(
                number, name.capitalize(), category, kind, "AUTOMATIC", algorithm, anatomic_regions=regions,
                display_color=color,
            )
        )  # fmt: skip
    return {
        "source_images": source.headers,
        "pixel_array": np.stack([*masks.values()], axis=-1),
        "plane_positions": [PlanePositionSequence("PATIENT", source.positions[k]) for k in kept],
        "segmentation_type": "BINARY",
        "segment_descriptions": descriptions,
        "series_instance_uid": UID(),
        "series_number": _series_number(source.headers[0]),
        "sop_instance_uid": UID(),
        "instance_number": 1,
        "manufacturer": _NAME,
        "manufacturer_model_name": _NAME,
        "software_versions": version,
        "device_serial_number": version,
        "content_label": "LIVER",
        "content_description": "Liver (whole organ), vessels and tumors in it",
        "series_description": "Liver, vessels and tumors, automatic",
    }


def _series_number(header: Dataset) -> int:
    """Return a number for the new series that sorts it behind those of the scanner."""
    try:
        number = int(header.get("SeriesNumber") or 0)
    except (TypeError, ValueError):
        number = 0
    return 1000 + number if 0 <= number <= _LARGEST - 1000 else 1000
