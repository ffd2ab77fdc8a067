"""The two stages of the paper's section 2.2: their classes, inputs and targets, as pure functions of arrays.

Stage 1 sees whole slices and finds the liver, tumors and vessels included. Stage 2 sees the liver region, with
everything outside the liver set to background, and tells vessels from tumors. `view.StageView` applies them.
"""

from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int16, UInt8
from numpy import ndarray

from ltvs.runtime.choices import check_choice
from ltvs.volume.labels import BACKGROUND, LIVER

Stage = Literal[1, 2]
STAGES: tuple[Stage, Stage] = (1, 2)

#: The paper's patch: slices, rows, columns.
PATCH = (32, 320, 320)

#: HU that make a difference of 1 in the input of a network.
HU_PER_UNIT = 50.0

#: The classes of each stage's network, in the order of its output channels.
CLASSES: dict[Stage, tuple[str, ...]] = {1: ("background", "liver"), 2: ("background", "vessel", "tumor")}


def find_hu_offset(
    hu: Int16[ndarray, "d h w"], liver: Bool[ndarray, "d h w"] | None, window: tuple[float, float]
) -> float:
    """Return the HU that a network sees as 0: the liver's median in stage 2, the window's lower end in stage 1.

    Enhancement differs from patient to patient; vessels and tumors stand out by their contrast to the liver.

    Args:
        hu: the CT of a whole case, (d, h, w) in HU.
        liver: what stage 2 may see, (d, h, w); None for stage 1.
        window: lowest and highest HU.
    """
    if liver is None or not liver.any():
        return float(window[0])
    return float(np.median(np.clip(hu[liver], *window)))


def network_input(
    hu: Int16[ndarray, "d h w"], liver: Bool[ndarray, "d h w"] | None, window: tuple[float, float], hu_offset: float
) -> Float[ndarray, "d h w"]:
    """Return the clipped HU as distance from `hu_offset` in units of 50 HU, float32, with 0 outside `liver`.

    A unit is about the contrast of a vessel to the liver. Scaled to 0..1 over the window instead, that contrast would
    be an eighth of the range, and vessels and tumors are hardly learned (docs/train/settings.md has the figures).

    Args:
        hu: the CT, (d, h, w) in HU.
        liver: what stage 2 may see, (d, h, w); None for stage 1, which sees everything.
        window: lowest and highest HU; values beyond are clipped.
        hu_offset: HU that become 0, as `find_hu_offset` gives them for the whole case.
    """
    low, high = (np.float32(bound) for bound in window)
    image = hu.astype(np.float32)
    np.clip(image, low, high, out=image)
    image -= np.float32(hu_offset)
    image /= np.float32(HU_PER_UNIT)
    if liver is not None:
        image[~liver] = 0
    return image


def liver_region(labels: UInt8[ndarray, "d h w"], stage: Stage) -> Bool[ndarray, "d h w"] | None:
    """Return the liver for stage 2, with the tumors and vessels in it; None, which hides nothing, for stage 1.

    Raises:
        InputError: there is no such stage.
    """
    check_choice("stage", stage, STAGES)
    return None if stage == 1 else labels > BACKGROUND


def network_target(labels: UInt8[ndarray, "d h w"], stage: Stage) -> UInt8[ndarray, "d h w"]:
    """Return the class of each voxel, as an index into `CLASSES[stage]`.

    Raises:
        InputError: there is no such stage.
    """
    check_choice("stage", stage, STAGES)
    if stage == 1:
        return (labels > BACKGROUND).astype(np.uint8)
    target: UInt8[ndarray, "d h w"] = np.maximum(labels, LIVER) - np.uint8(LIVER)
    return target
