"""A prepared data set in nnU-Net's raw format: CTs and labels in their own grid, and the split.

DIR/dataset.json   DIR/splits_final.json   DIR/imagesTr/CASE_0000.nii.gz   DIR/labelsTr/CASE.nii.gz
DIR/imagesTs, DIR/labelsTs: the same of the test cases, which nnU-Net does not train on
"""

import re
import shutil
import tempfile
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from jaxtyping import UInt8
from numpy import ndarray

from ltvs.dataset.layout import PreparedSet
from ltvs.runtime.errors import InputError
from ltvs.runtime.files import TEMPORARY, write_json
from ltvs.volume.grids import Grid
from ltvs.volume.images import read_labels, write_volume
from ltvs.volume.labels import BACKGROUND, LIVER, MEANINGS


def check_target(target: Path) -> None:
    """Raise InputError if nnU-Net would not find a data set of this name, or if there is one already."""
    if not re.fullmatch(r"Dataset\d{3}_[\w-]+", target.name):
        raise InputError(
            f"--export-nnunet {target}: expected a folder named like Dataset501_Liver, three digits and a name, in "
            "the folder that nnUNet_raw names"
        )
    if target.exists():
        raise InputError(f"--export-nnunet {target}: exists already; remove it, or give another number")


def export_nnunet(data: PreparedSet, target: Path) -> dict[str, int]:
    """Write a data set for nnU-Net, whole or not at all.

    The cases of `train` and `validation` become imagesTr, and splits_final.json says which is which; those of `test`
    become imagesTs. Structures that not all cases have labels of become liver, since nnU-Net wants labels without
    gaps.

    Args:
        data: a prepared set.
        target: folder to make, DatasetNNN_NAME.

    Returns:
        The labels by name, as in dataset.json.

    Raises:
        InputError: the name does not do, the folder exists, a file is missing or damaged, or nothing can be written.
    """
    check_target(target)
    known = [LIVER, *(label for label in sorted(MEANINGS) if label != LIVER and MEANINGS[label] in data.structures)]
    values = np.full(max(MEANINGS) + 1, known.index(LIVER) + 1, dtype=np.uint8)
    values[BACKGROUND] = BACKGROUND
    values[known] = range(1, len(known) + 1)
    labels = {"background": BACKGROUND, **{MEANINGS[label]: int(values[label]) for label in known}}
    training = sorted({*data.split["train"], *data.split["validation"]})
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=TEMPORARY, dir=target.parent) as folder:
            made = Path(folder) / target.name
            for part, names in (("Tr", training), ("Ts", data.split["test"])):
                for name in names:
                    _copy_case(data, name, values, made, part)
            write_json(made / "dataset.json", _description(labels, len(training)))
            # One fold: nnU-Net takes the folds after the last one that it finds here from a split of its own.
            write_json(made / "splits_final.json", [{"train": data.split["train"], "val": data.split["validation"]}])
            made.rename(target)
    except OSError as error:
        raise InputError(f"--export-nnunet {target}: cannot be written ({error.strerror or error})") from error
    return labels


def _description(labels: dict[str, int], count: int) -> dict[str, object]:
    # The name of the channel makes nnU-Net clip and scale HU by the data set's own statistics.
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
