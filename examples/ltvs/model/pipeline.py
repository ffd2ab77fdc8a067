"""From a CT to labels in its own grid: stage 1 finds the liver, stage 2 the vessels and tumors in it."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Self

import numpy as np
import SimpleITK as sitk
import torch
from jaxtyping import Bool, Int16
from numpy import ndarray

from crossattn3d.regional.boxes import dilated
from ltvs.model.certain_tumors import keep_certain_tumors
from ltvs.model.computing import PredictionPrecision, best_device, check_device, predicting_in
from ltvs.model.inference import count_patches, predict_probabilities
from ltvs.model.liver_shape import body_and_sizes, cut_bridges, fill_notches
from ltvs.model.saved import TrainedStage, load_stage
from ltvs.model.stages import Stage
from ltvs.runtime.errors import InputError
from ltvs.volume.grids import Grid, bounding_slices
from ltvs.volume.hounsfield import not_hu, not_liver
from ltvs.volume.labels import LIVER
from ltvs.volume.resampling import resample_labels, restore_probabilities

#: What each stage finds.
STEPS: dict[Stage, str] = {1: "liver", 2: "vessels and tumors"}
#: Voxels of a network's grid beyond what it may see that still decide labels in there, by interpolation.
REACH = 2
#: Milliliters of a body that stage 1 finds at least, to be told of.
SMALLEST_BODY = 1.0

SMALLEST_LIVER = 100.0
"""Milliliters of a liver at least. That of an adult has over a thousand."""

Progress = Callable[[str, int, int], None]
"""A function that is told the step, its patches done, and its patches in all."""


class NoLiverError(InputError):
    """Stage 1 finds no liver in a CT."""


@dataclass(frozen=True)
class Found:
    """What both stages find in a CT.

    Args:
        labels: the label map on the CT's own grid: 0 background, 1 liver, 2 vessel, 3 tumor.
        bodies: ml of each connected body that stage 1 took for liver, the largest first, from 1 ml on. Empty if the
            liver was given.
    """

    labels: sitk.Image
    bodies: tuple[float, ...] = ()


@dataclass(frozen=True)
class Computing:
    """Where and how networks predict.

    Args:
        device: `cpu`, `cuda`, `cuda:1`, ...
        precision: of the layers; `auto` for bfloat16 where the device has it in hardware.
        mirror: whether stage 2 averages over the eight mirror images of each patch.
        progress: called as progress(step, patches_done, patches_in_all), first with 0 as soon as the step begins.
    """

    device: str
    precision: PredictionPrecision
    mirror: bool = False
    progress: Progress | None = None


class Pipeline:
    """Both trained stages on a device, ready to label any number of CTs.

    `Pipeline.load` makes one from a folder of networks.

    Args:
        stage1: the stage that finds the liver.
        stage2: the stage that finds the vessels and tumors in it.
        device: the device on which the networks run: `cpu`, `cuda`, `cuda:1`, ...
        smallest_liver: ml. Stage 1 refuses a liver below it.
        precision: the precision of the networks' layers. `auto` takes bfloat16 on devices with instructions for it, and
            float32 on others.
        mirror: whether stage 2 averages over the eight mirror images of each patch, which takes eight times as long.

    Raises:
        InputError: PyTorch cannot compute on the device, or there is no such precision.
    """

    def __init__(
        self,
        stage1: TrainedStage,
        stage2: TrainedStage,
        device: str,
        smallest_liver: float = SMALLEST_LIVER,
        precision: PredictionPrecision = "auto",
        mirror: bool = False,
    ) -> None:
        check_device(device)
        predicting_in(precision, device)
        self.stage1 = stage1
        self.stage2 = stage2
        self.device = device
        self.smallest_liver = smallest_liver
        self.precision = precision
        self.mirror = mirror

    @classmethod
    def load(
        cls,
        run: Path,
        device: str | None = None,
        smallest_liver: float = SMALLEST_LIVER,
        precision: PredictionPrecision = "auto",
        mirror: bool = False,
    ) -> Self:
        """Load both stages of a run.

        Args:
            run: the folder of a run, or `ltvs.model.shipping.SHIPPED` for the networks that come with the examples.
            device: the device on which the networks run. None takes the GPU if there is one.
            smallest_liver: ml. Stage 1 refuses a liver below it.
            precision: the precision of the networks' layers, as for the constructor.
            mirror: whether stage 2 averages over mirror images, as for the constructor.

        Raises:
            InputError: the run lacks a stage, its files are damaged, or the device or the precision cannot be used.
        """
        device = best_device() if device is None else device
        return cls(load_stage(run, 1), load_stage(run, 2), device, smallest_liver, precision, mirror)

    def label(
        self,
        ct: sitk.Image,
        liver: sitk.Image | None = None,
        *,
        force: bool = False,
        progress: Progress | None = None,
    ) -> sitk.Image:
        """Return the label map of a CT. Arguments and errors are those of `find`."""
        return self.find(ct, liver, force=force, progress=progress).labels

    def find(
        self,
        ct: sitk.Image,
        liver: sitk.Image | None = None,
        *,
        force: bool = False,
        progress: Progress | None = None,
    ) -> Found:
        """Return the label map of a CT, and the bodies that stage 1 took for liver.

        Args:
            ct: the CT in HU, of any size, spacing and orientation.
            liver: a mask of 0 and 1 on the CT's grid, not empty. None lets stage 1 find the liver.
            force: whether to label a CT with values that are not HU.
            progress: a function that is called as progress(step, patches_done, patches_in_all), with 0 done when a step
                begins. The steps are `liver`, unless it is given, and `vessels and tumors`.

        Raises:
            NoLiverError: stage 1 finds no liver.
            InputError: the CT is not in HU.
        """
        computing = Computing(self.device, self.precision, self.mirror, progress)
        bodies: tuple[float, ...] = ()
        if liver is None:
            organ, bodies = _find_liver(ct, self.stage1, self.smallest_liver, computing, force)
        else:
            organ, values = liver, sitk.GetArrayViewFromImage(ct)
            _check_hu(values, force)
            _check_liver(values, sitk.GetArrayViewFromImage(liver) > 0, force)
        classes = _predict(ct, organ, 2, self.stage2, computing)
        labels, inside = np.zeros(ct.GetSize()[::-1], dtype=np.uint8), sitk.GetArrayViewFromImage(organ)
        # Memory of a whole CT that is 0 elsewhere is not taken where it is not written.
        box = bounding_slices(inside)
        labels[box] = (sitk.GetArrayViewFromImage(classes)[box] + np.uint8(LIVER)) * inside[box]
        del classes, organ, inside
        return Found(Grid.of(ct).place(sitk.GetImageFromArray(labels)), bodies)


def find_liver(
    ct: sitk.Image,
    stage1: TrainedStage,
    device: str,
    smallest: float = SMALLEST_LIVER,
    precision: PredictionPrecision = "auto",
    *,
    force: bool = False,
) -> sitk.Image:
    """Return the liver that stage 1 finds, one solid body, as a mask of 0 and 1 on the CT's grid.

    Args:
        ct: HU.
        stage1: finds it.
        device: where the network runs.
        smallest: ml; what is smaller is no liver.
        precision: of the network's layers.
        force: look for it although the values are not HU.

    Raises:
        NoLiverError: no liver is found.
        InputError: the CT is not in HU.
    """
    return _find_liver(ct, stage1, smallest, Computing(device, precision), force)[0]


def _find_liver(
    ct: sitk.Image, stage1: TrainedStage, smallest: float, computing: Computing, force: bool
) -> tuple[sitk.Image, tuple[float, ...]]:
    """Return the liver, and ml of all bodies that stage 1 takes for it."""
    spacing, values = ct.GetSpacing()[::-1], sitk.GetArrayViewFromImage(ct)
    _check_hu(values, force)
    classes = _predict(ct, None, 1, stage1, computing)
    found = sitk.GetArrayViewFromImage(classes) > 0
    del classes
    voxel = float(np.prod(spacing)) / 1000
    body, sizes = body_and_sizes(found)
    bodies = tuple(ml for n in sizes if (ml := n * voxel) >= SMALLEST_BODY)
    body = cut_bridges(body, spacing)
    ml = float(np.count_nonzero(body)) * voxel
    if ml == 0 or ml < smallest:
        raise NoLiverError(
            f"stage 1 finds no liver in this CT: {ml:.3g} ml, expected at least {smallest:g}; is it an abdominal CT in "
            "HU? Networks that were trained too briefly find none"
        )
    _check_liver(values, body, force)
    liver = fill_notches(body, values, spacing)
    return Grid.of(ct).place(sitk.GetImageFromArray(liver.view(np.uint8))), bodies


def _check_hu(values: Int16[ndarray, "d h w"], force: bool) -> None:
    if not force and (reason := not_hu(values)) is not None:
        raise InputError(f"expected HU, got a {reason}; --force takes it as it is")


def _check_liver(values: Int16[ndarray, "d h w"], liver: Bool[ndarray, "d h w"], force: bool) -> None:
    if not force and (reason := not_liver(float(np.median(values[liver])))) is not None:
        raise InputError(
            f"expected HU; {reason}; apply the rescale slope and intercept, or give --force to take it as it is"
        )


def _predict(
    ct: sitk.Image, liver: sitk.Image | None, stage: Stage, trained: TrainedStage, computing: Computing
) -> sitk.Image:
    """Return the classes that a stage finds, on the CT's grid; stage 2 is given the liver."""
    view, device = trained.preparation.view(stage), computing.device
    grid = view.grid(ct, liver)
    patches = count_patches(grid.size[::-1], trained.patch, trained.overlap)
    progress = None if computing.progress is None else partial(computing.progress, STEPS[stage])
    if progress is not None:
        progress(0, patches)
    hu = view.hu(ct, grid)
    region = None if liver is None else view.region(sitk.GetArrayFromImage(resample_labels(liver, grid)))
    image = view.input(hu, region, view.hu_offset(hu, region))
    del hu
    wanted = dilated(image != 0 if region is None else region, REACH)
    del region
    probabilities = predict_probabilities(
        trained.net.to(device),
        image,
        trained.patch,
        trained.overlap,
        torch.device(device),
        predicting_in(computing.precision, device),
        wanted=wanted,
        # Stage 1 knows on which side of a body the liver is, and does not find it in mirrored ones.
        mirror=computing.mirror and stage == 2,
        progress=progress,
    )
    del image
    if stage == 2:
        probabilities = keep_certain_tumors(probabilities)
    return restore_probabilities(probabilities, grid, Grid.of(ct))
