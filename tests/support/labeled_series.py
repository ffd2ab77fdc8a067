"""The tiny patient as a DICOM series, with its label map on the grid that is read from the series."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ltvs.volume.case import Case
from ltvs.volume.images import read_ct
from support.crlm_layout import write_ct
from support.enhanced_ct import write_frames
from support.ircadb_layout import write_series
from support.tiny_cases import array, tiny_case

Writer = Callable[[Path, Case], object]

#: Ways to store a CT, by name.
WRITERS: dict[str, Writer] = {
    "usual": lambda folder, case: write_ct(folder, case, "p1"),
    "reversed": lambda folder, case: write_series(folder, case.ct, upwards=False),
    "enhanced": lambda folder, case: write_frames(folder, case.ct),
    "enhanced, reversed": lambda folder, case: write_frames(folder, case.ct, [*range(case.ct.GetSize()[2])][::-1]),
}


def labels_of(case: Case) -> sitk.Image:
    """Return the label map of a case; a vessel that ends outside the liver is clipped, as in every label map."""
    values = array(case.liver).copy()
    values[(array(case.vessel) > 0) & (values > 0)] = 2
    values[(array(case.tumor) > 0) & (values > 0)] = 3
    labels = sitk.GetImageFromArray(values.astype(np.uint8))
    labels.CopyInformation(case.ct)
    return labels


def labeled_series(folder: Path, direction: np.ndarray, write: Writer) -> tuple[sitk.Image, list[Path]]:
    """Write a series; return labels as prediction has them, on the grid that is read, and the files, shuffled."""
    case = tiny_case(direction=direction)
    write(folder, case)
    nearest = sitk.Resample(labels_of(case), read_ct(folder), sitk.Transform(), sitk.sitkNearestNeighbor)
    files = sorted(folder.iterdir())
    return nearest, [files[k] for k in np.random.default_rng(0).permutation(len(files))]
