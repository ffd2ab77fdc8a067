"""Small patients written as cohorts of volume files are published: MSD, LiTS, and one folder per case."""

from pathlib import Path

import SimpleITK as sitk

from ltvs.volume.case import Case
from ltvs.volume.images import write_volume
from support.tiny_cases import tiny_case

#: Content of the file that archives packed on a Mac hold beside each file: not a volume, whatever its name.
APPLE_DOUBLE = b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X"


def whole_organ(case: Case) -> sitk.Image:
    """Return the liver including the whole tumor, even where the tumor breaches its surface, as LiTS and MSD do."""
    return sitk.Or(case.liver, case.tumor)


def liver_and_tumor(case: Case) -> sitk.Image:
    """Return labels as in LiTS and Task03: 1 liver, 2 tumor."""
    return whole_organ(case) + case.tumor


def vessel_and_tumor(case: Case) -> sitk.Image:
    """Return labels as in Task08: 1 vessel, 2 tumor."""
    return sitk.Mask(case.vessel, case.tumor == 0) + case.tumor * 2


def write_task(folder: Path, names: dict[str, sitk.Image], apple: bool = True) -> Path:
    """Write imagesTr and labelsTr of an MSD task from labels by case name, and one unlabeled case in imagesTs."""
    for name, labels in names.items():
        write_volume(tiny_case().ct, folder / "imagesTr" / f"{name}.nii.gz")
        write_volume(labels, folder / "labelsTr" / f"{name}.nii.gz")
        for part in ("imagesTr", "labelsTr") if apple else ():
            (folder / part / f"._{name}.nii.gz").write_bytes(APPLE_DOUBLE)
    write_volume(tiny_case().ct, folder / "imagesTs" / f"{next(iter(names))}9.nii.gz")
    (folder / "dataset.json").write_text("{}")
    return folder


def write_own(
    folder: Path, case: Case, suffixes: tuple[str, str, str, str] = (".nii.gz", ".nii", ".nrrd", ".mha")
) -> Path:
    """Write a case of a user's own cohort: ct, liver, vessel and tumor, each with one of the suffixes."""
    assert case.vessel is not None
    parts = {"ct": case.ct, "liver": case.liver, "vessel": case.vessel, "tumor": case.tumor}
    for (name, volume), suffix in zip(parts.items(), suffixes, strict=True):
        write_volume(volume, folder / f"{name}{suffix}")
    return folder
