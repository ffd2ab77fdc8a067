"""The least work that prepares a case: SimpleITK's own calls, as in its tutorials, and nothing else.

Reads the CT and every mask that is used, writes them compressed as they are, resamples each onto both grids, the CT
linearly, masks to the nearest neighbor, and writes those uncompressed, as preparation does.
"""

from collections.abc import Iterable
from pathlib import Path

import SimpleITK as sitk

from ltvs.sources.ircadb import CT, MASKS, structure_of
from ltvs.volume.grids import Grid


def prepare_barely(patient: Path, grids: Iterable[Grid], low: float, output: Path) -> None:
    """Read, resample and write one patient.

    Args:
        patient: folder of an unpacked patient of 3D-IRCADb.
        grids: of the two stages.
        low: HU outside the CT.
        output: an empty folder.
    """
    ct = _read(patient / CT)
    masks = [_read(folder) for folder in sorted((patient / MASKS).iterdir()) if structure_of(folder.name)]
    sitk.WriteImage(ct, str(output / "ct.nii.gz"), useCompression=True)
    for m, mask in enumerate(masks):
        sitk.WriteImage(mask, str(output / f"mask{m}.nii.gz"), useCompression=True)
    for g, grid in enumerate(grids):
        sitk.WriteImage(_on(ct, grid, sitk.sitkLinear, low), str(output / f"ct{g}.nii"))
        for m, mask in enumerate(masks):
            sitk.WriteImage(_on(mask, grid, sitk.sitkNearestNeighbor, 0), str(output / f"mask{m}-{g}.nii"))


def _read(folder: Path) -> sitk.Image:
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    volume: sitk.Image = reader.Execute()
    return volume


def _on(image: sitk.Image, grid: Grid, interpolator: int, outside: float) -> sitk.Image:
    return sitk.Resample(
        image, grid.size, sitk.Transform(), interpolator, grid.origin, grid.spacing, grid.direction, outside
    )
