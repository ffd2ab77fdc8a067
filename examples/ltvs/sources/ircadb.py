"""3D-IRCADb-01 as published: one folder per patient, DICOM without file extensions, one folder per structure.

    3Dircadb1.N/PATIENT_DICOM/image_k      3Dircadb1.N/MASKS_DICOM/STRUCTURE/image_k

Each patient may be unpacked or a zip, with or without the two folders as zips inside it.
"""

import re
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import SimpleITK as sitk

from ltvs.case import Case
from ltvs.errors import InputError
from ltvs.images import read_ct, same_grid
from ltvs.sources import Source

CT_FOLDER, MASKS_FOLDER = "PATIENT_DICOM", "MASKS_DICOM"
_CASE_NAME = re.compile(r"3Dircadb1\.(\d+)", re.IGNORECASE)
_LIVER_TUMOR = re.compile(r"livertumors?\d*", re.IGNORECASE)
_VESSEL = re.compile(r"portalvein\d*|venoussystem|venacava", re.IGNORECASE)


def structure_of(name: str) -> Literal["liver", "tumor", "vessel"] | None:
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
    """The patients at `path`: a folder of patients, or one patient, zipped or not.

    Raises:
        InputError: no patient is found, or one twice.
    """
    if not path.exists():
        raise InputError(f"{path}: does not exist")
    candidates = [path] if _is_case(path) else sorted(path.iterdir() if path.is_dir() else [])
    cases: Source = {}
    for candidate in filter(_is_case, candidates):
        found = _CASE_NAME.search(candidate.name)
        name = f"ircadb-{int(found[1]):02d}" if found else candidate.name.removesuffix(".zip")
        if name in cases:
            raise InputError(f"{candidate}: patient {name} is here twice; keep one of the two")
        cases[name] = partial(_load, name, candidate)
    if not cases:
        raise InputError(f"{path}: no 3D-IRCADb patient here; expected 3Dircadb1.N folders or zips with {CT_FOLDER} inside")
    return cases


def _is_case(path: Path) -> bool:
    """A folder with PATIENT_DICOM in it, or a zip with PATIENT_DICOM somewhere in its list of names."""
    if path.is_dir():
        return any((path / name).exists() for name in (CT_FOLDER, f"{CT_FOLDER}.zip"))
    if path.suffix.lower() != ".zip":
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            return any(CT_FOLDER in name for name in archive.namelist())
    except (OSError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: is not a readable zip ({error}); download it again") from error


def _load(name: str, path: Path) -> Case:
    with _unpacked(path) as folder:
        ct = read_ct(_find(folder, CT_FOLDER))
        masks = {"liver": None, "tumor": None, "vessel": None}
        for mask_folder in sorted(p for p in _find(folder, MASKS_FOLDER).iterdir() if p.is_dir()):
            structure = structure_of(mask_folder.name)
            if structure is None:
                continue
            mask = _read_mask(mask_folder)
            if not same_grid(mask, ct):
                raise InputError(f"{name}: mask {mask_folder.name} does not lie on the CT's grid; is it of another case?")
            masks[structure] = mask if masks[structure] is None else masks[structure] | mask
        for structure in ("liver", "vessel"):
            if masks[structure] is None:
                raise InputError(f"{name}: no {structure} mask in {MASKS_FOLDER}")
        tumor = masks["tumor"]
        if tumor is None:
            tumor = sitk.Image(ct.GetSize(), sitk.sitkUInt8)
            tumor.CopyInformation(ct)
        return Case(name, ct, masks["liver"], masks["vessel"], tumor)


def _read_mask(folder: Path) -> sitk.Image:
    values = read_ct(folder)
    found = np.unique(sitk.GetArrayViewFromImage(values))
    if not np.isin(found, (0, 1, 255)).all():
        raise InputError(f"{folder}: expected a mask of 0 and 255; got values {found.min()} to {found.max()}")
    return values > 0


def _find(folder: Path, name: str) -> Path:
    """The folder `name`, at the top or within the patient's own folder."""
    found = [path for path in (folder / name, *folder.glob(f"*/{name}")) if path.is_dir()]
    if not found:
        raise InputError(f"{folder.name}: no folder {name} in it")
    return found[0]


@contextmanager
def _unpacked(path: Path) -> Iterator[Path]:
    """The patient's folder, unpacked to a temporary place where it, or a part of it, is a zip."""
    if path.is_dir() and not any((path / f"{name}.zip").exists() for name in (CT_FOLDER, MASKS_FOLDER)):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="ircadb-") as temporary:
        target = Path(temporary) / path.name.removesuffix(".zip")
        target.mkdir()
        inner = sorted(path.glob("*.zip")) if path.is_dir() else [path]
        while inner:
            archive = inner.pop()
            _unzip(archive, target)
            if target in archive.parents:
                archive.unlink()
            inner += [p for p in target.rglob("*.zip") if p not in inner]
        yield target


def _unzip(path: Path, target: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                if not (target / name).resolve().is_relative_to(target.resolve()):
                    raise InputError(f"{path}: refused, it would write outside its folder ({name})")
            archive.extractall(target)
    except (OSError, zipfile.BadZipFile, NotImplementedError) as error:
        raise InputError(f"{path}: cannot be unpacked ({error}); download it again") from error
