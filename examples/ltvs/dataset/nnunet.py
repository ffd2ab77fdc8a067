"""Export of a prepared data set in nnU-Net's raw format: CTs and labels on their own grid, and the split.

DIR/dataset.json   DIR/splits_final.json   DIR/imagesTr/CASE_0000.nii.gz   DIR/labelsTr/CASE.nii.gz
DIR/imagesTs, DIR/labelsTs: the test cases, which nnU-Net does not train on
"""

import os
import re
import shutil
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from jaxtyping import UInt8
from numpy import ndarray

from ltvs.dataset.layout import PreparedSet
from ltvs.runtime.errors import InputError
from ltvs.runtime.files import atomic_path, write_json
from ltvs.volume.grids import Grid
from ltvs.volume.images import read_labels, write_volume
from ltvs.volume.labels import BACKGROUND, LIVER, MEANINGS


def check_target(target: Path) -> None:
    """Raise InputError if nnU-Net would not find a data set of this name, or if it exists already."""
    if not re.fullmatch(r"Dataset\d{3}_[\w-]+", target.name):
        raise InputError(
            f"--export-nnunet {target}: expected a folder named like Dataset501_Liver, three digits and a name, in "
            "the folder that nnUNet_raw names"
        )
    if os.path.lexists(target):
        raise InputError(f"--export-nnunet {target}: exists already; remove it, or give another number")


def export_nnunet(data: PreparedSet, target: Path) -> dict[str, int]:
    """Write a data set for nnU-Net, whole or not at all.

    The cases of `train` and `validation` become imagesTr, and splits_final.json says which is which; those of `test`
    become imagesTs. Structures that are not labeled in all cases become liver, since nnU-Net requires consecutive
    labels.

    Args:
        data: a prepared set.
        target: folder to create, DatasetNNN_NAME.

    Returns:
        The labels by name, as in dataset.json.

    Raises:
        InputError: the name does not fit, the folder exists, a file is missing or damaged, or the folder cannot be
            written.
    """
    check_target(target)
    known = [LIVER, *(label for label in sorted(MEANINGS) if label != LIVER and MEANINGS[label] in data.structures)]
    values = np.full(max(MEANINGS) + 1, known.index(LIVER) + 1, dtype=np.uint8)
    values[BACKGROUND] = BACKGROUND
    values[known] = range(1, len(known) + 1)
    labels = {"background": BACKGROUND, **{MEANINGS[label]: int(values[label]) for label in known}}
    training = sorted({*data.split["train"], *data.split["validation"]})
    with atomic_path(target) as folder:
        for part, names in (("Tr", training), ("Ts", data.split["test"])):
            for name in names:
                _copy_case(data, name, values, folder, part)
        write_json(folder / "dataset.json", _description(labels, len(training)))
        # One fold only: nnU-Net makes its own random splits for folds that are not in this file.
        write_json(folder / "splits_final.json", [{"train": data.split["train"], "val": data.split["validation"]}])
    return labels


def _description(labels: dict[str, int], count: int) -> dict[str, object]:
    # The channel name "CT" makes nnU-Net clip and scale HU by statistics of the data set.
    return {"channel_names": {"0": "CT"}, "labels": labels, "numTraining": count, "file_ending": ".nii.gz"}


def _copy_case(data: PreparedSet, name: str, values: UInt8[ndarray, " n"], made: Path, part: str) -> None:
    images, labels = made / f"images{part}", made / f"labels{part}"
    for folder in (images, labels):
        folder.mkdir(parents=True, exist_ok=True)
    for source in (data.ct(name), data.labels(name)):
        if not source.is_file():
            raise InputError(f"{source}: is missing; prepare the data set again")
    shutil.copyfile(data.ct(name), images / f"{name}_0000.nii.gz")
    if np.array_equal(values, range(len(values))):
        shutil.copyfile(data.labels(name), labels / f"{name}.nii.gz")
        return
    volume = read_labels(data.labels(name))
    mapped = values[sitk.GetArrayViewFromImage(volume)]
    write_volume(Grid.of(volume).place(sitk.GetImageFromArray(mapped)), labels / f"{name}.nii.gz")
