"""From a CT to labels in its own grid: stage 1 finds the liver, stage 2 the vessels and tumors in it."""

from pathlib import Path
from typing import Self

import numpy as np
import SimpleITK as sitk
import torch
from jaxtyping import Bool
from numpy import ndarray
from scipy import ndimage

from ltvs.model.computing import not_emulated
from ltvs.model.inference import predict_probabilities
from ltvs.model.saved import TrainedStage, load_stage
from ltvs.model.stage_view import StageView
from ltvs.runtime.errors import InputError
from ltvs.volume.grids import Grid
from ltvs.volume.labels import LIVER
from ltvs.volume.resampling import resample_labels, restore_probabilities


class NoLiverError(InputError):
    """Stage 1 finds no liver in a CT."""


class Pipeline:
    """Both trained stages on a device, ready to label any number of CTs.

    Args:
        stage1: finds the liver.
        stage2: finds the vessels and tumors in it.
        device: where the networks run: `cpu`, `cuda`, `cuda:1`, ...
    """

    def __init__(self, stage1: TrainedStage, stage2: TrainedStage, device: str) -> None:
        self.stage1 = stage1
        self.stage2 = stage2
        self.device = device

    @classmethod
    def load(cls, run: Path, device: str) -> Self:
        """Load both stages of a run.

        Raises:
            InputError: the run lacks a stage, or its files are damaged.
        """
        return cls(load_stage(run, 1), load_stage(run, 2), device)

    def label(self, ct: sitk.Image) -> sitk.Image:
        """Return the label map (1 liver, 2 vessel, 3 tumor) of a CT, on the CT's own grid.

        Args:
            ct: HU, any size, spacing and orientation.

        Raises:
            NoLiverError: no liver is found.
        """
        organ = find_liver(ct, self.stage1, self.device)
        lesions = sitk.GetArrayFromImage(_predict(ct, organ, self.stage2.preparation.view(2), self.stage2, self.device))
        liver = sitk.GetArrayViewFromImage(organ) > 0
        return Grid.of(ct).place(sitk.GetImageFromArray(np.where(liver, lesions + LIVER, 0).astype(np.uint8)))


def find_liver(ct: sitk.Image, stage1: TrainedStage, device: str) -> sitk.Image:
    """Return the liver that stage 1 finds, the largest body, solid, as a mask of 0 and 1 on the CT's grid.

    Raises:
        NoLiverError: no liver is found.
    """
    found = _predict(ct, None, stage1.preparation.view(1), stage1, device)
    liver = largest_body(sitk.GetArrayFromImage(found) > 0)
    if not liver.any():
        raise NoLiverError("stage 1 finds no liver in this CT; is it an abdominal CT in HU, and is the run trained?")
    return Grid.of(ct).place(sitk.GetImageFromArray(liver.astype(np.uint8)))


def largest_body(mask: Bool[ndarray, "d h w"]) -> Bool[ndarray, "d h w"]:
    """Return the largest connected part, with its holes filled: there is one liver and it is solid."""
    parts, count = ndimage.label(mask)
    if count == 0:
        return mask
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    filled: Bool[ndarray, "d h w"] = ndimage.binary_fill_holes(parts == sizes.argmax())
    return filled


def _predict(
    ct: sitk.Image, liver: sitk.Image | None, view: StageView, trained: TrainedStage, device: str
) -> sitk.Image:
    """Return the classes that a stage finds, on the CT's grid; stage 2 is given the liver."""
    grid = view.grid(ct, liver)
    hu = view.hu(ct, grid)
    region = None if liver is None else view.region(sitk.GetArrayFromImage(resample_labels(liver, grid)))
    image = view.input(hu, region, view.hu_offset(hu, region))
    net, precision = trained.net.to(device), not_emulated(trained.precision, device)
    probabilities = predict_probabilities(net, image, trained.patch, trained.overlap, torch.device(device), precision)
    return restore_probabilities(probabilities, grid, Grid.of(ct))
