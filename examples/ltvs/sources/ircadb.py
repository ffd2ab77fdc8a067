"""3D-IRCADb-01 as published: one folder per patient, DICOM without file extensions, one folder per structure.

    3Dircadb1.N/PATIENT_DICOM/image_k      3Dircadb1.N/MASKS_DICOM/STRUCTURE/image_k

A patient may be unpacked or a zip, and the two folders may be zips themselves. Masks carry the positions of their
slices, as the CT does, so both are put in order by position and have to agree.
"""

import re
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np
import SimpleITK as sitk

from ltvs.runtime.errors import InputError
from ltvs.sources import Entry, Source
from ltvs.sources.archives import members, unpacked
from ltvs.sources.labeled import check_grid
from ltvs.volume.case import Case
from ltvs.volume.grids import Grid
from ltvs.volume.images import read_ct, read_mask

Structure = Literal["liver", "tumor", "vessel"]

CT, MASKS = "PATIENT_DICOM", "MASKS_DICOM"
_PATIENT = re.compile(r"3Dircadb1\.(\d+)(\.zip)?", re.IGNORECASE)
_LIVER_TUMOR = re.compile(r"livertumors?\d*", re.IGNORECASE)
_VESSEL = re.compile(r"portalvein\d*|venoussystem|venacava", re.IGNORECASE)


def structure_of(name: str) -> Structure | None:
    """What a mask folder shows, or None for what is not used here.

    `leftsurretumor`, `rightsurretumor` (case 5) and `tumor` (case 7) are adrenal, `liverkyst*` and `livercyst` cysts.

    Example:
        >>> structure_of("livertumor01"), structure_of("portalvein1"), structure_of("leftsurretumor")
        ('tumor', 'vessel', None)
    """
    if name.lower() == "liver":
        return "liver"
    if _LIVER_TUMOR.fullmatch(name):
        return "tumor"
    return "vessel" if _VESSEL.fullmatch(name) else None


def ircadb(path: Path) -> Source:
    """The patients at `path`: one patient, or a folder or zip of patients; each a folder or a zip.

    Raises:
        InputError: no patient is found, or one twice.
    """
    if not path.exists():
        raise InputError(f"{path}: does not exist")
    found = list(_patients(path))
    if not found and path.is_dir():
        found = [patient for child in sorted(path.iterdir()) for patient in _patients(child)]
    cases: Source = {}
    for place, root in found:
        last = PurePosixPath(root).name or place.name
        number = _PATIENT.fullmatch(last)
        name = f"ircadb-{int(number[1]):02d}" if number else last.removesuffix(".zip")
        if name in cases:
            raise InputError(f"{path}: expected each patient once, got {name} twice; keep one of the two")
        cases[name] = Entry(partial(load_patient, name, place, root), name, (place,))
    if not cases:
        raise InputError(f"{path}: no 3D-IRCADb patient here; expected 3Dircadb1.N folders or zips with {CT} in them")
    return cases


def load_patient(name: str, place: Path, root: str) -> Case:
    """Read one patient.

    Args:
        name: of the case.
        place: a folder or a zip.
        root: of the patient within the zip; empty if it is the zip's or folder's own.

    Raises:
        InputError: the CT, the liver or the vessels are missing, cannot be read, or do not lie on one grid.
    """
    with unpacked(place, root, _is_used) as folders:
        ct = read_ct(_find(folders, CT, name))
        masks: dict[Structure, np.ndarray] = {}
        for mask_folder in sorted(path for path in _find(folders, MASKS, name).iterdir() if path.is_dir()):
            structure = structure_of(mask_folder.name)
            if structure is None:
                continue
            mask = read_mask(mask_folder)
            check_grid(f"{name}: mask {mask_folder.name}", mask, ct)
            voxels = sitk.GetArrayFromImage(mask)
            masks[structure] = masks[structure] | voxels if structure in masks else voxels
    for structure in ("liver", "vessel"):
        if structure not in masks:
            raise InputError(f"{name}: expected a {structure} mask in {MASKS}, found none")
    masks.setdefault("tumor", np.zeros_like(masks["liver"]))  # five patients have no liver tumor
    grid = Grid.of(ct)
    liver, vessel, tumor = (grid.place(sitk.GetImageFromArray(masks[key])) for key in ("liver", "vessel", "tumor"))
    return Case(name, ct, liver, vessel, tumor)


def patient_roots(names: Iterable[str]) -> list[str]:
    """The patients' own folders or zips, given the names in a zip; empty text where it is the zip itself.

    Example:
        >>> patient_roots(["3Dircadb1.1/PATIENT_DICOM/image_0", "3Dircadb1.1/MASKS_DICOM.zip", "3Dircadb1.2.zip"])
        ['3Dircadb1.1', '3Dircadb1.2.zip']
        >>> patient_roots(["PATIENT_DICOM.zip", "MASKS_DICOM.zip"])
        ['']
    """
    roots = set()
    for name in names:
        path = PurePosixPath(name)
        for i, part in enumerate(path.parts):
            if part in (CT, f"{CT}.zip"):
                roots.add("/".join(path.parts[:i]))
        if path.suffix.lower() == ".zip" and _PATIENT.fullmatch(path.name):
            roots.add(name)
    return sorted(roots)


def _patients(path: Path) -> Iterator[tuple[Path, str]]:
    """Every patient in a folder or zip: where it is, and its root there."""
    if path.is_dir():
        if any((path / name).exists() for name in (CT, f"{CT}.zip")):
            yield path, ""
    elif path.suffix.lower() == ".zip":
        try:
            roots = patient_roots(members(path))
        except InputError:
            roots = [""]  # reading it as a patient says what is wrong, and leaves the others in peace
        for root in roots:
            yield path, root


def _is_used(path: PurePosixPath) -> bool:
    """Whether a file of a patient is read, or a zip holds such files: meshes and other organs are not."""
    if path.suffix.lower() == ".zip":
        return path.stem in (CT, MASKS) or _PATIENT.fullmatch(path.name) is not None
    return CT in path.parts or (MASKS in path.parts and structure_of(path.parent.name) is not None)


def _find(folders: Iterable[Path], name: str, case: str) -> Path:
    found = sorted(path for folder in folders for path in folder.rglob(name) if path.is_dir())
    if len(found) != 1:
        raise InputError(f"{case}: expected one folder {name}, found {len(found) or 'none'}")
    return found[0]
