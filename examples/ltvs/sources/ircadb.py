"""3D-IRCADb-01 as published: one folder per patient, DICOM without file extensions, one folder per structure.

    3Dircadb1.N/PATIENT_DICOM/image_k      3Dircadb1.N/MASKS_DICOM/STRUCTURE/image_k

A patient may be unpacked or zipped, and the two folders may be zips themselves. Masks have slice positions, as the CT
does, so both are sorted by position and have to agree.
"""

import re
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path, PurePosixPath

import SimpleITK as sitk

from ltvs.runtime.errors import InputError
from ltvs.sources import Entry, Source
from ltvs.sources.archives import member_names, unpacked
from ltvs.sources.ct_and_masks import read_mask_on
from ltvs.volume.case import Case
from ltvs.volume.images import read_ct
from ltvs.volume.labels import Structure

CT, MASKS = "PATIENT_DICOM", "MASKS_DICOM"
_PATIENT = re.compile(r"3Dircadb1\.(\d+)(\.zip)?", re.IGNORECASE)
_LIVER_TUMOR = re.compile(r"livertumors?\d*", re.IGNORECASE)
_VESSEL = re.compile(r"portalvein\d*|venoussystem|venacava", re.IGNORECASE)


def ircadb(path: Path, *, force: bool = False) -> Source:
    """List the patients at `path`: one patient, or a folder or zip of patients; each a folder or a zip.

    Args:
        path: folder or zip.
        force: whether to take series of another modality than CT.

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
        cases[name] = Entry(partial(load_case, name, place, root, force=force), name, (place,))
    if not cases:
        raise InputError(f"{path}: no 3D-IRCADb patient here; expected 3Dircadb1.N folders or zips with {CT} in them")
    return cases


def load_case(name: str, place: Path, root: str, *, force: bool = False) -> Case:
    """Read one patient.

    Args:
        name: of the case.
        place: a folder or a zip.
        root: folder of the patient within the zip; empty if the zip or folder is the patient's own.
        force: whether to take a series of another modality than CT.

    Raises:
        InputError: the CT, the liver or the vessels are missing, cannot be read, or do not lie on one grid.
    """
    with unpacked(place, root, _is_used) as folders:
        ct = read_ct(_find(folders, CT, name), force=force)
        masks: dict[Structure, sitk.Image] = {}
        for folder in sorted(path for path in _find(folders, MASKS, name).iterdir() if path.is_dir()):
            if structure := structure_of(folder.name):
                mask = read_mask_on(ct, folder, f"{name}: mask {folder.name}")
                masks[structure] = masks[structure] | mask if structure in masks else mask
    for structure in ("liver", "vessel"):
        if structure not in masks:
            raise InputError(f"{name}: expected a {structure} mask in {MASKS}, found none")
    masks.setdefault("tumor", masks["liver"] * 0)  # five patients have no liver tumor
    return Case(name, ct, masks["liver"], masks["vessel"], masks["tumor"])


def structure_of(name: str) -> Structure | None:
    """Return the structure that a mask folder shows, or None if it is not used here.

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


def patient_roots(names: Iterable[str]) -> list[str]:
    """Return the folders or zips of patients, given the names in a zip; an empty string if the zip is one patient's.

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
    """Yield the place of every patient in a folder or zip, and the root there."""
    if path.is_dir():
        if any((path / name).exists() for name in (CT, f"{CT}.zip")):
            yield path, ""
    elif path.suffix.lower() == ".zip":
        try:
            roots = patient_roots(member_names(path))
        except InputError:
            roots = [""]  # loading it as a patient reports the error; the others stay usable
        for root in roots:
            yield path, root


def _is_used(path: PurePosixPath) -> bool:
    """Return whether a file of a patient is read, or a zip may hold such files; meshes and other organs are not."""
    if path.suffix.lower() == ".zip":
        return path.stem in (CT, MASKS) or _PATIENT.fullmatch(path.name) is not None
    return CT in path.parts or (MASKS in path.parts and structure_of(path.parent.name) is not None)


def _find(folders: Iterable[Path], name: str, case: str) -> Path:
    """Return the only folder of a name."""
    found = sorted(path for folder in folders for path in folder.rglob(name) if path.is_dir())
    if len(found) != 1:
        raise InputError(f"{case}: expected one folder {name}, found {len(found) or 'none'}")
    return found[0]
