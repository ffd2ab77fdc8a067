"""The view that each stage has of a CT: how the CT is prepared, and what the network sees and is to find."""

from dataclasses import asdict, dataclass
from typing import Any, Self

import SimpleITK as sitk
from jaxtyping import Bool, Float, Int16, UInt8
from numpy import ndarray

from ltvs.model.stages import STAGES, Stage, find_hu_offset, liver_region, network_input, network_target
from ltvs.runtime.choices import check_choice
from ltvs.volume.grids import Grid, liver_grid, whole_grid
from ltvs.volume.resampling import resample_image


@dataclass(frozen=True)
class StageGrid:
    """Resolution of the grid of one stage.

    Args:
        pixels: rows and columns.
        slice_spacing: mm.
    """

    pixels: int
    slice_spacing: float


@dataclass(frozen=True)
class Preparation:
    """Settings that turn a CT into the input of the networks; kept with the weights, as prediction has to do the same.

    Args:
        window: lowest and highest HU; values beyond are clipped.
        stage1: grid over the whole slices.
        stage2: grid over the liver box.
        margin: mm around the liver, on every side of the box.
    """

    window: tuple[float, float]
    stage1: StageGrid
    stage2: StageGrid
    margin: float

    def json(self) -> dict[str, Any]:
        """Return the settings as JSON holds them."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Self:
        """Return the settings that `json` gave."""
        low, high = content["window"]
        return cls(
            (float(low), float(high)),
            StageGrid(**content["stage1"]),
            StageGrid(**content["stage2"]),
            float(content["margin"]),
        )

    def view(self, stage: Stage) -> "StageView":
        """Return the view that a stage has of a CT prepared like this."""
        return StageView(stage, self)


@dataclass(frozen=True)
class StageView:
    """Everything that the network of a stage sees of a CT, and what it is to find there.

    Preparing, training, validation and prediction all ask here, so that they agree.

    Args:
        stage: 1 or 2.
        preparation: of the CT.
    """

    stage: Stage
    preparation: Preparation

    def __post_init__(self) -> None:
        check_choice("stage", self.stage, STAGES)

    def grid(self, ct: sitk.Image, liver: sitk.Image | None) -> Grid:
        """Return the grid over the whole slices (stage 1) or the box around the liver (stage 2).

        Args:
            ct: the CT.
            liver: mask or labels of the liver on the CT's grid; stage 1 ignores it.
        """
        preparation = self.preparation
        if self.stage == 1:
            return whole_grid(ct, preparation.stage1.pixels, preparation.stage1.slice_spacing)
        return liver_grid(liver, preparation.stage2.pixels, preparation.stage2.slice_spacing, preparation.margin)

    def hu(self, ct: sitk.Image, grid: Grid) -> Int16[ndarray, "d h w"]:
        """Return the CT on a grid, clipped to the window."""
        array: Int16[ndarray, "d h w"] = sitk.GetArrayFromImage(resample_image(ct, grid, self.preparation.window))
        return array

    def region(self, labels: UInt8[ndarray, "d h w"]) -> Bool[ndarray, "d h w"] | None:
        """Return the voxels that the network may see: None, for all, in stage 1; the liver in stage 2."""
        return liver_region(labels, self.stage)

    def hu_offset(self, hu: Int16[ndarray, "d h w"], region: Bool[ndarray, "d h w"] | None) -> float:
        """Return the HU of a case that the network sees as 0."""
        return find_hu_offset(hu, region, self.preparation.window)

    def input(
        self, hu: Int16[ndarray, "d h w"], region: Bool[ndarray, "d h w"] | None, hu_offset: float
    ) -> Float[ndarray, "d h w"]:
        """Return the input of the network."""
        return network_input(hu, region, self.preparation.window, hu_offset)

    def target(self, labels: UInt8[ndarray, "d h w"]) -> UInt8[ndarray, "d h w"]:
        """Return the class of each voxel that the network is to find."""
        return network_target(labels, self.stage)
