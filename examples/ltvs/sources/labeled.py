"""What sources of volume files have in common: a CT beside a label map or masks that have to lie on its grid."""

from collections.abc import Mapping
from pathlib import Path

import SimpleITK as sitk

from ltvs.runtime.errors import InputError
from ltvs.volume.case import Case
from ltvs.volume.images import read_ct, read_labels, same_grid

#: Label values of MSD's Task03 and of LiTS. `liver` is what is left of the organ outside the tumors.
LIVER_AND_TUMOR = {1: "liver", 2: "tumor"}


def check_grid(what: str, mask: sitk.Image, ct: sitk.Image) -> None:
    """Raise InputError, which names `what`, if a mask does not lie where the CT lies."""
    if not same_grid(mask, ct):
        raise InputError(
            f"{what} {mask.GetSize()} does not lie on the CT's grid {ct.GetSize()}; "
            "is a slice missing, or is it of another patient?"
        )


def read_pair(ct_file: Path, label_file: Path, meanings: Mapping[int, str]) -> tuple[sitk.Image, sitk.Image]:
    """A CT and its label map.

    Args:
        ct_file: HU.
        label_file: 0 for background and the values of `meanings`.
        meanings: of the label values.

    Raises:
        InputError: one of them cannot be read, has other values, or they do not lie on one grid.
    """
    labels = read_labels(label_file, meanings)
    ct = read_ct(ct_file)
    check_grid(f"{label_file}:", labels, ct)
    return ct, labels


def load_liver_and_tumor(name: str, ct_file: Path, label_file: Path) -> Case:
    """A case without vessel labels, from a label map of 1 liver and 2 tumor.

    Raises:
        InputError: as `read_pair`.
    """
    ct, labels = read_pair(ct_file, label_file, LIVER_AND_TUMOR)
    return Case(name, ct, liver=labels > 0, vessel=None, tumor=labels == 2)


def present(*files: Path) -> tuple[Path, ...]:
    """Those of the files that are there: what is missing is said when its case is loaded."""
    return tuple(file for file in files if file.exists())
