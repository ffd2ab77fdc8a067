"""The work that both sides are given: a DICOM folder, the liver for stage 2, the grids, patches and widths."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import SimpleITK as sitk

from ltvs.model.stage_view import Preparation, StageGrid
from ltvs.model.stages import PATCH, STAGES, Stage
from ltvs.sources.archives import unpacked
from ltvs.sources.ircadb import CT, ircadb
from ltvs.volume.grids import Grid
from ltvs.volume.images import write_volume

#: The paper's grids, and the window and margin that CTs are prepared with by default.
PAPER = Preparation((-160.0, 240.0), StageGrid(320, 1.0), StageGrid(320, 1.0), 10.0)


@dataclass(frozen=True)
class Size:
    """How large everything is; by default as in the paper.

    Args:
        preparation: of the CT.
        channels: of each level of this project's networks, finest first.
        features: of MONAI's BasicUNet, about as wide.
        patch: (d, h, w) voxels.
        overlap: voxels shared by neighboring patches, along (d, h, w).
    """

    preparation: Preparation = PAPER
    channels: tuple[int, ...] = (32, 64, 128, 256)
    features: tuple[int, ...] = (32, 32, 64, 128, 256, 32)
    patch: tuple[int, int, int] = PATCH
    overlap: tuple[int, int, int] = (16, 0, 0)


@dataclass(frozen=True)
class Work:
    """One CT to label, as the processes are told.

    Args:
        ct: folder with its DICOM series.
        liver: file with the mask that stage 2 is given, on the CT's grid.
        grids: of both stages.
        size: of networks and patches.
    """

    ct: Path
    liver: Path
    grids: dict[Stage, Grid]
    size: Size

    def json(self) -> dict[str, Any]:
        """Return the work as JSON holds it."""
        size = self.size
        return {
            "ct": str(self.ct),
            "liver": str(self.liver),
            "grids": {str(stage): grid.json() for stage, grid in self.grids.items()},
            "preparation": size.preparation.json(),
            **{name: list(getattr(size, name)) for name in ("channels", "features", "patch", "overlap")},
        }

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Self:
        """Return the work that `json` describes."""
        lists = (tuple(content[name]) for name in ("channels", "features", "patch", "overlap"))
        return cls(
            Path(content["ct"]),
            Path(content["liver"]),
            {stage: Grid.from_json(content["grids"][str(stage)]) for stage in STAGES},
            Size(Preparation.from_json(content["preparation"]), *lists),
        )


@contextmanager
def unpacked_work(path: Path, folder: Path, size: Size) -> Iterator[tuple[str, Work]]:
    """Yield the name of a patient of 3D-IRCADb and the work that it makes.

    Args:
        path: the patient, a zip or a folder.
        folder: for the liver, an empty one.
        size: of everything.

    Raises:
        InputError: it is no such patient, or more than one.
    """
    ((name, entry),) = ircadb(path).items()
    case = entry.load()
    mask = ((sitk.GetArrayViewFromImage(case.liver) > 0) | (sitk.GetArrayViewFromImage(case.tumor) > 0)).view(np.uint8)
    liver = Grid.of(case.ct).place(sitk.GetImageFromArray(mask))
    write_volume(liver, folder / "liver.mha")
    grids: dict[Stage, Grid] = {stage: size.preparation.view(stage).grid(case.ct, liver) for stage in STAGES}
    del case, entry
    with unpacked(path, "", lambda _: True) as folders:
        (series,) = (found for one in folders for found in one.rglob(CT) if found.is_dir())
        yield name, Work(series, folder / "liver.mha", grids, size)
