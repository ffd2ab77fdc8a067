"""From a CT to labels in its own grid: stage 1 finds the liver, stage 2 looks into it."""

from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch
from jaxtyping import Bool
from numpy import ndarray
from scipy import ndimage

from ltvs.model.inference import predict_probabilities
from ltvs.model.stages import network_input, zero_level
from ltvs.runtime.errors import InputError
from ltvs.training.run_folder import TrainedStage, load_stage
from ltvs.volume.grids import Grid, liver_grid, whole_grid
from ltvs.volume.labels import LIVER
from ltvs.volume.resampling import resample_image, resample_labels, restore_probabilities


class NoLiverError(InputError):
    """Stage 1 finds no liver in a CT."""


def predict(ct: sitk.Image, run: Path, device: str) -> sitk.Image:
    """Label map (1 liver, 2 vessel, 3 tumor) of a CT, on the CT's own grid.

    Args:
        ct: HU, any size, spacing and orientation.
        run: folder with both trained stages.
        device: where the networks run, `cpu` or `cuda`.

    Raises:
        InputError: the run lacks a stage.
        NoLiverError: no liver is found.
    """
    return label_ct(ct, load_stage(run, 1), load_stage(run, 2), device)


def label_ct(ct: sitk.Image, stage1: TrainedStage, stage2: TrainedStage, device: str) -> sitk.Image:
    """As `predict`, with stages that are loaded.

    Raises:
        InputError: no liver is found.
    """
    organ = whole_liver(ct, stage1, device)
    liver = sitk.GetArrayViewFromImage(organ) > 0
    inside = sitk.GetArrayFromImage(find_lesions(ct, organ, stage2, device))
    labels = sitk.GetImageFromArray(np.where(liver, inside + LIVER, 0).astype(np.uint8))
    labels.CopyInformation(ct)
    return labels


def whole_liver(ct: sitk.Image, stage: TrainedStage, device: str) -> sitk.Image:
    """Stage 1 and what is made of it: the largest body that it finds, solid, 0/1 on the CT's grid.

    Raises:
        NoLiverError: no liver is found.
    """
    liver = largest_body(sitk.GetArrayFromImage(find_liver(ct, stage, device)) > 0)
    if not liver.any():
        raise NoLiverError("stage 1 finds no liver in this CT; is it an abdominal CT in HU, and is the run trained?")
    organ = sitk.GetImageFromArray(liver.astype(np.uint8))
    organ.CopyInformation(ct)
    return organ


def find_liver(ct: sitk.Image, stage: TrainedStage, device: str) -> sitk.Image:
    """Stage 1: the liver as the network sees it, 0/1 on the CT's grid."""
    fine = stage.preparation.stage1
    grid = whole_grid(ct, fine.pixels, fine.slice_spacing)
    return _predict_on(ct, None, grid, stage, device)


def find_lesions(ct: sitk.Image, liver: sitk.Image, stage: TrainedStage, device: str) -> sitk.Image:
    """Stage 2: 0 background, 1 vessel, 2 tumor on the CT's grid, from the liver region alone."""
    fine = stage.preparation.stage2
    grid = liver_grid(liver, fine.pixels, fine.slice_spacing, stage.preparation.margin)
    region = sitk.GetArrayFromImage(resample_labels(liver, grid)) > 0
    return _predict_on(ct, region, grid, stage, device)


def largest_body(mask: Bool[ndarray, "d h w"]) -> Bool[ndarray, "d h w"]:
    """The largest connected part, with its holes filled: there is one liver and it is solid."""
    parts, count = ndimage.label(mask)
    if count == 0:
        return mask
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    filled: Bool[ndarray, "d h w"] = ndimage.binary_fill_holes(parts == sizes.argmax())
    return filled


def _predict_on(
    ct: sitk.Image, region: Bool[ndarray, "d h w"] | None, grid: Grid, stage: TrainedStage, device: str
) -> sitk.Image:
    window = stage.preparation.window
    hu = sitk.GetArrayFromImage(resample_image(ct, grid, window))
    net = stage.net.to(device)
    image = network_input(hu, region, window, zero_level(hu, region, window))
    probabilities = predict_probabilities(net, image, stage.patch, stage.overlap, torch.device(device), stage.precision)
    return restore_probabilities(probabilities, grid, Grid.of(ct))
