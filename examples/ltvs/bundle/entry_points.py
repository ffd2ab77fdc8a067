"""Functions that a MONAI bundle of two trained stages calls, named in its `configs/inference.json`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ltvs.model.computing import Precision
from ltvs.model.networks import channels_last
from ltvs.model.pipeline import Pipeline
from ltvs.model.saved import TrainedStage
from ltvs.runtime.outputs import check_new_files, check_outside
from ltvs.volume.images import check_name, read_ct, write_volume


def trained_stage(
    net: nn.Module,
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
    settings = {"preparation": preparation, "patch": patch, "overlap": overlap, "precision": precision}
    return TrainedStage.from_json(channels_last(net).eval(), settings)


def label_file(
    ct: str,
    labels: str,
    stage1: TrainedStage,
    stage2: TrainedStage,
    device: str,
    smallest_liver: float,
    force: bool = False,
    overwrite: bool = False,
) -> None:
    """Label the CT in a file or DICOM folder, and write the label map.

    Args:
        ct: file or folder.
        labels: file to write.
        stage1: finds the liver.
        stage2: finds the vessels and tumors in it.
        device: where the networks run.
        smallest_liver: ml; what is smaller is no liver.
        force: label what the checks take for no CT in HU.
        overwrite: whether to replace labels that exist.

    Raises:
        InputError: the CT cannot be read or is none in HU, or the labels are not to be written there.
    """
    source, output = Path(ct), Path(labels)
    check_name(output)
    check_outside(output, {"--input": source})
    check_new_files([output], overwrite=overwrite)
    volume = read_ct(source, force=force)
    write_volume(Pipeline(stage1, stage2, device, smallest_liver).label(volume, force=force), output)
    print(f"labels: {labels}")
