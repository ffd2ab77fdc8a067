"""The liver tasks of the Medical Segmentation Decathlon as published.

    Task03_Liver/{imagesTr,labelsTr}/liver_N.nii.gz                     1 liver, 2 tumor; N from 0 to 130
    Task08_HepaticVessel/{imagesTr,labelsTr}/hepaticvessel_001.nii.gz   1 vessel, 2 tumor; no liver

The archives hold a `._NAME` beside each file, which macOS wrote; these are no volumes.
"""

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import SimpleITK as sitk

from ltvs.runtime.errors import InputError
from ltvs.sources import Entry, Source
from ltvs.sources.ct_and_masks import existing, load_liver_and_tumor, read_ct_and_labels, read_mask_on
from ltvs.volume.case import Case
from ltvs.volume.images import VOLUME_SUFFIXES, stem, volume_files

VESSEL_AND_TUMOR = {1: "vessel", 2: "tumor"}

#: Returns the liver in a case's CT.
LiverFinder = Callable[[sitk.Image], sitk.Image]


def msd03(path: Path) -> Source:
    """List the training cases of Task03_Liver, which are those of LiTS: liver and tumors, no vessels.

    Args:
        path: the task's folder, or its parent.

    Raises:
        InputError: no case is found.
    """
    cases: Source = {}
    for number, image, labels in training_cases(path, "Task03_Liver", "liver"):
        name = f"msd03-{number:03d}"
        load = partial(load_liver_and_tumor, name, image, labels)
        cases[name] = Entry(load, f"lits-{number:03d}", existing(image, labels))
    return cases


def msd08(
    path: Path,
    liver: Path | None = None,
    liver_from: Path | None = None,
    device: str = "cpu",
    smallest_liver: float | None = None,
    *,
    force: bool = False,
) -> Source:
    """List the training cases of Task08_HepaticVessel, with livers from elsewhere.

    Args:
        path: the task's folder, or its parent.
        liver: folder of liver masks, each named like its CT; every voxel above 0 counts.
        liver_from: run whose stage 1 finds the livers; either this or `liver`.
        device: where that stage runs.
        smallest_liver: ml; if less is found, the case is refused. None for the default of prediction.
        force: whether stage 1 looks for livers in values that are not HU.

    Raises:
        InputError: no case is found, not exactly one of `liver` and `liver_from` is given, or it cannot be used.
    """
    if (liver is None) == (liver_from is None):
        raise InputError(
            "--source msd08: this task has no liver labels; expected --liver DIR (folder of liver masks named like the "
            "CTs) or --liver-from RUN (a run whose trained stage 1 finds them); got "
            f"{'neither' if liver is None else 'both'}"
        )
    found = training_cases(path, "Task08_HepaticVessel", "hepaticvessel")
    masks = {} if liver is None else _masks(liver)
    run_files = () if liver_from is None else _check_run(liver_from, device)
    cases: Source = {}
    for number, image, labels in found:
        name, mask = f"msd08-{number:03d}", masks.get(stem(image))
        if liver_from is not None:
            find_liver: LiverFinder = partial(_liver_by_stage_1, name, liver_from, device, smallest_liver, force)
        else:
            find_liver = partial(_liver_of_mask, f"{liver}: expected a liver mask {image.name}", mask)
        files = existing(image, labels, *run_files, *filter(None, [mask]))
        cases[name] = Entry(partial(load_case, name, image, labels, find_liver), name, files)
    return cases


def load_case(name: str, ct_file: Path, label_file: Path, find_liver: LiverFinder) -> Case:
    """Read one case of Task08.

    Raises:
        InputError: a file is missing or cannot be read, they do not lie on one grid, or no liver is found.
    """
    ct, labels = read_ct_and_labels(ct_file, label_file, VESSEL_AND_TUMOR)
    return Case(name, ct, liver=find_liver(ct), vessel=labels == 1, tumor=labels == 2)


def training_cases(path: Path, task: str, prefix: str) -> list[tuple[int, Path, Path]]:
    """Return number, CT and label map of every training case, in order."""
    folder = path / task if (path / task).is_dir() else path
    name = re.compile(rf"{prefix}_(\d+)\.nii\.gz", re.IGNORECASE)
    images = folder / "imagesTr"
    found = [(name.fullmatch(image.name), image) for image in images.glob("*")] if images.is_dir() else []
    cases = sorted((int(match[1]), image, folder / "labelsTr" / image.name) for match, image in found if match)
    if not cases:
        raise InputError(
            f"{path}: expected {task} with imagesTr/{prefix}_N.nii.gz and labelsTr in it, found none; "
            "unpack the .tar of the task and give its folder"
        )
    return cases


def _masks(folder: Path) -> dict[str, Path]:
    """Return the volume files anywhere in a folder, by name without suffix."""
    masks: dict[str, Path] = {}
    for file in volume_files(folder.rglob("*")):
        if stem(file) in masks:
            raise InputError(
                f"--liver {folder}: expected one mask per case, got {masks[stem(file)]} and {file}; remove one"
            )
        masks[stem(file)] = file
    if not masks:
        raise InputError(f"--liver {folder}: expected liver masks ({', '.join(VOLUME_SUFFIXES)}), found none")
    return masks


def _liver_of_mask(missing: str, mask: Path | None, ct: sitk.Image) -> sitk.Image:
    if mask is None:
        raise InputError(f"{missing}, found none; add it, or leave the case out (--leave-out)")
    return read_mask_on(ct, mask)


# The next two functions alone import PyTorch: it takes seconds, and no other source needs it.
def _check_run(run: Path, device: str) -> tuple[Path, ...]:
    """Return the files that decide what stage 1 of a run finds; raise InputError once if it cannot be used."""
    from ltvs.model.computing import check_device
    from ltvs.model.saved import load_stage, stage_folder

    check_device(device)
    load_stage(run, 1)
    return tuple(stage_folder(run, 1) / name for name in ("best.safetensors", "settings.json"))


def _liver_by_stage_1(
    name: str, run: Path, device: str, smallest: float | None, force: bool, ct: sitk.Image
) -> sitk.Image:
    from ltvs.model.pipeline import SMALLEST_LIVER, find_liver
    from ltvs.model.saved import load_stage

    try:
        smallest = SMALLEST_LIVER if smallest is None else smallest
        return find_liver(ct, load_stage(run, 1), device, smallest, force=force)
    except InputError as error:
        raise InputError(f"{name}: {error}") from error
