"""A CT with a label map or masks, which have to lie on its grid: shared by the sources that read files."""

from collections.abc import Mapping
from pathlib import Path

import SimpleITK as sitk

from ltvs.runtime.errors import InputError
from ltvs.volume.case import Case
from ltvs.volume.grids import Grid
from ltvs.volume.images import read_ct, read_labels, read_mask, same_grid

#: Label values of MSD's Task03 and of LiTS. `liver` is the rest of the organ, outside the tumors.
LIVER_AND_TUMOR = {1: "liver", 2: "tumor"}


def check_grid(what: str, mask: sitk.Image, ct: sitk.Image) -> None:
    """Raise InputError, which names `what`, if a mask does not lie on the CT's grid."""
    if not same_grid(mask, ct):
        raise InputError(
            f"{what} does not lie on the CT's grid: {Grid.of(mask).differences(Grid.of(ct))}; "
            "is a slice missing, or is it of another patient?"
        )


def read_mask_on(ct: sitk.Image, path: Path, what: str = "") -> sitk.Image:
    """Read a mask of a CT.

    Args:
        ct: its grid.
        path: a volume file or a folder with one DICOM series.
        what: names the mask in an error; the path if not given.

    Raises:
        InputError: the mask cannot be read or does not lie on the CT's grid.
    """
    mask = read_mask(path)
    check_grid(what or f"{path}:", mask, ct)
    return Grid.of(ct).place(mask)


def read_ct_and_labels(ct_file: Path, label_file: Path, meanings: Mapping[int, str]) -> tuple[sitk.Image, sitk.Image]:
    """Read a CT and its label map.

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
    """Read a case without vessel labels from a CT and a label map of 1 liver and 2 tumor.

    Raises:
        InputError: as `read_ct_and_labels`.
    """
    ct, labels = read_ct_and_labels(ct_file, label_file, LIVER_AND_TUMOR)
    return Case(name, ct, liver=labels > 0, vessel=None, tumor=labels == 2)


def existing(*files: Path) -> tuple[Path, ...]:
    """Return the files that exist; a missing one is an error only when its case is loaded."""
    return tuple(file for file in files if file.exists())
