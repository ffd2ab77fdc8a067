"""Functions that a MONAI bundle of two trained stages calls, named in its `configs/inference.json`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch

from crossattn3d import UNet3d
from ltvs.model.computing import Precision
from ltvs.model.pipeline import Pipeline
from ltvs.model.saved import TrainedStage
from ltvs.volume.images import read_ct, write_volume


def trained_stage(
    net: UNet3d,
    weights: str,
    preparation: dict[str, Any],
    patch: Sequence[int],
    overlap: Sequence[int],
    precision: Precision,
) -> TrainedStage:
    """Return a stage as `ltvs.model.saved.load_stage` loads it from a run.

    Args:
        net: with any weights.
        weights: file of its state_dict, read as tensors only.
        preparation: as `Preparation.json` writes it.
        patch: slices, rows and columns, voxels.
        overlap: of neighboring patches, voxels.
        precision: of the layers.
    """
    net.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    net = cast("UNet3d", net.to(memory_format=torch.channels_last_3d))  # type: ignore[call-overload]
    settings = {"preparation": preparation, "patch": patch, "overlap": overlap, "precision": precision}
    return TrainedStage.from_json(net.eval(), settings)


def label_file(
    ct: str, labels: str, stage1: TrainedStage, stage2: TrainedStage, device: str, smallest_liver: float
) -> None:
    """Label the CT in a file or DICOM folder, and write the label map."""
    write_volume(Pipeline(stage1, stage2, device, smallest_liver).label(read_ct(Path(ct))), Path(labels))
    print(f"labels: {labels}")
