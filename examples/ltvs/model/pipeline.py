"""From a CT to labels in its own grid: stage 1 finds the liver, stage 2 the vessels and tumors in it."""

from pathlib import Path
from typing import Self

import numpy as np
import SimpleITK as sitk
import torch
from jaxtyping import Bool, Int16
from numpy import ndarray

from ltvs.model.certain_tumors import keep_certain_tumors
from ltvs.model.computing import not_emulated
from ltvs.model.inference import predict_probabilities
from ltvs.model.liver_shape import cut_bridges, fill_notches, largest_body
from ltvs.model.saved import TrainedStage, load_stage
from ltvs.model.stage_view import StageView
from ltvs.runtime.errors import InputError
from ltvs.volume.grids import Grid
from ltvs.volume.hounsfield import not_hu, not_liver
from ltvs.volume.labels import LIVER
from ltvs.volume.resampling import resample_labels, restore_probabilities

#: Milliliters of a liver at least; that of an adult has over a thousand.
SMALLEST_LIVER = 100.0


class NoLiverError(InputError):
    """Stage 1 finds no liver in a CT."""


class Pipeline:
    """Both trained stages on a device, ready to label any number of CTs.

    Args:
        stage1: finds the liver.
        stage2: finds the vessels and tumors in it.
        device: where the networks run: `cpu`, `cuda`, `cuda:1`, ...
        smallest_liver: ml; what is smaller is no liver.
    """

    def __init__(
        self, stage1: TrainedStage, stage2: TrainedStage, device: str, smallest_liver: float = SMALLEST_LIVER
    ) -> None:
        self.stage1 = stage1
        self.stage2 = stage2
        self.device = device
        self.smallest_liver = smallest_liver

    @classmethod
    def load(cls, run: Path, device: str, smallest_liver: float = SMALLEST_LIVER) -> Self:
        """Load both stages of a run.

        Raises:
            InputError: the run lacks a stage, or its files are damaged.
        """
        return cls(load_stage(run, 1), load_stage(run, 2), device, smallest_liver)

    def label(self, ct: sitk.Image, liver: sitk.Image | None = None, *, force: bool = False) -> sitk.Image:
        """Return the label map (1 liver, 2 vessel, 3 tumor) of a CT, on the CT's own grid.

        Args:
            ct: HU, any size, spacing and orientation.
            liver: mask of 0 and 1 on the CT's grid, not empty; that which stage 1 finds if None.
            force: label it although its values are not HU.

        Raises:
            NoLiverError: no liver is found.
            InputError: the CT is not in HU.
        """
        if liver is None:
            organ = find_liver(ct, self.stage1, self.device, self.smallest_liver, force=force)
        else:
            organ, values = liver, sitk.GetArrayViewFromImage(ct)
            _check_hu(values, force)
            _check_liver(values, sitk.GetArrayViewFromImage(liver) > 0, force)
        view = self.stage2.preparation.view(2)
        labels = sitk.GetArrayFromImage(_predict(ct, organ, view, self.stage2, self.device))
        labels += np.uint8(LIVER)
        labels *= sitk.GetArrayViewFromImage(organ)
        return Grid.of(ct).place(sitk.GetImageFromArray(labels))


def find_liver(
    ct: sitk.Image, stage1: TrainedStage, device: str, smallest: float = SMALLEST_LIVER, *, force: bool = False
) -> sitk.Image:
    """Return the liver that stage 1 finds, one solid body, as a mask of 0 and 1 on the CT's grid.

    Args:
        ct: HU.
        stage1: finds it.
        device: where the network runs.
        smallest: ml; what is smaller is no liver.
        force: look for it although the values are not HU.

    Raises:
        NoLiverError: no liver is found.
        InputError: the CT is not in HU.
    """
    spacing, values = ct.GetSpacing()[::-1], sitk.GetArrayViewFromImage(ct)
    _check_hu(values, force)
    found = sitk.GetArrayFromImage(_predict(ct, None, stage1.preparation.view(1), stage1, device)) > 0
    body = cut_bridges(largest_body(found), spacing)
    ml = float(np.count_nonzero(body) * np.prod(ct.GetSpacing()) / 1000)
    if ml == 0 or ml < smallest:
        raise NoLiverError(
            f"stage 1 finds no liver in this CT: {ml:.3g} ml, expected at least {smallest:g}; is it an abdominal CT in "
            "HU, and is the run trained?"
        )
    _check_liver(values, body, force)
    liver = fill_notches(body, values, spacing)
    return Grid.of(ct).place(sitk.GetImageFromArray(liver.view(np.uint8)))


def _check_hu(values: Int16[ndarray, "d h w"], force: bool) -> None:
    if not force and (reason := not_hu(values)) is not None:
        raise InputError(f"expected HU, got a {reason}; --force takes it as it is")


def _check_liver(values: Int16[ndarray, "d h w"], liver: Bool[ndarray, "d h w"], force: bool) -> None:
    if not force and (reason := not_liver(float(np.median(values[liver])))) is not None:
        raise InputError(
            f"expected HU; {reason}; apply the rescale slope and intercept, or give --force to take it as it is"
        )


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
    if view.stage == 2:
        probabilities = keep_certain_tumors(probabilities)
    return restore_probabilities(probabilities, grid, Grid.of(ct))
