"""The same work by MONAI and SimpleITK, as their users write it.

BasicUNet and `sliding_window_inference` for each stage, everything else by SimpleITK. Nothing of this project is used,
and nothing is done that the labels do not need: one patch at a time, no gradients, values changed in place, classes by
the largest logit, and no volume kept longer than it is needed. BasicUNet has this project's normalization,
with which it took no longer than with its own, and PyTorch's usual memory format, which is faster
(docs/understand/speed.md).
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch
from monai.inferers import sliding_window_inference
from monai.networks.nets import BasicUNet
from torch import Tensor, nn

#: HU that make a difference of 1 in the input of a network.
_HU_PER_UNIT = 50.0


def prepare_to_label(work: dict[str, Any], precision: str, output: Path) -> tuple[Callable[[], None], dict[str, float]]:
    """Return a call that labels the CT, and a dictionary in which it adds up the seconds that patches take.

    Args:
        work: as `Work.json` gives it.
        precision: `32` or `bf16-mixed`.
        output: label map to write.
    """
    torch.manual_seed(0)
    one, two = (BasicUNet(3, 1, classes, work["features"], norm="batch").eval() for classes in (2, 3))
    liver = sitk.ReadImage(work["liver"])
    spent = {"networks": 0.0}

    def label() -> None:
        reader = sitk.ImageSeriesReader()
        reader.SetFileNames(reader.GetGDCMSeriesFileNames(work["ct"]))
        ct = reader.Execute()
        _predict(ct, None, one, work, precision, spent)  # what it finds is not used: the liver is given
        labels = _predict(ct, liver, two, work, precision, spent)
        labels = sitk.Mask(labels + 1, liver)
        sitk.WriteImage(labels, str(output), useCompression=True)

    return label, spent


@torch.inference_mode()
def _predict(
    ct: sitk.Image,
    liver: sitk.Image | None,
    net: nn.Module,
    work: dict[str, Any],
    precision: str,
    spent: dict[str, float],
) -> sitk.Image:
    """Return the classes that a stage finds, on the CT's grid."""
    grid = work["grids"]["1" if liver is None else "2"]
    (low, high), offset = work["preparation"]["window"], work["preparation"]["window"][0]
    array = sitk.GetArrayFromImage(_resampled(ct, grid, sitk.sitkLinear, low, sitk.sitkFloat32))
    np.clip(array, low, high, out=array)
    if liver is not None:
        inside = sitk.GetArrayFromImage(_resampled(liver, grid, sitk.sitkNearestNeighbor, 0, sitk.sitkUInt8)) > 0
        offset = float(np.median(array[inside]))
    array -= offset
    array /= _HU_PER_UNIT
    if liver is not None:
        array[~inside] = 0

    def logits_of(patch: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16-mixed"):
            logits: Tensor = net(patch)
        return logits

    shares = [shared / size for shared, size in zip(work["overlap"], work["patch"], strict=True)]
    volume = torch.from_numpy(array)[None, None]
    start = time.perf_counter()
    logits = sliding_window_inference(volume, work["patch"], sw_batch_size=1, predictor=logits_of, overlap=shares)
    spent["networks"] += time.perf_counter() - start
    classes = sitk.GetImageFromArray(logits[0].argmax(dim=0).to(torch.uint8).numpy())
    classes.SetSpacing(grid["spacing"])
    classes.SetOrigin(grid["origin"])
    classes.SetDirection(grid["direction"])
    return sitk.Resample(classes, ct, sitk.Transform(), sitk.sitkNearestNeighbor, 0, sitk.sitkUInt8)


def _resampled(image: sitk.Image, grid: dict[str, Any], kind: int, outside: float, pixels: int) -> sitk.Image:
    place = (grid["origin"], grid["spacing"], grid["direction"])
    return sitk.Resample(image, grid["size"], sitk.Transform(), kind, *place, outside, pixels)
