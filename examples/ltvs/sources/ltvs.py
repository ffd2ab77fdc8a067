"""Your own cohort: one folder per case with `ct`, `liver`, `vessel` and `tumor`, each one volume file.

    CASE/{ct,liver,vessel,tumor}.nii.gz     or .nii, .nrrd, .mha

All four are required. A patient without tumors has an empty mask: a forgotten file must not teach the networks that
there are none.
"""

from functools import partial
from pathlib import Path

from ltvs.runtime.errors import InputError
from ltvs.sources import Entry, Source
from ltvs.sources.ct_and_masks import read_mask_on
from ltvs.sources.identity import patient_of
from ltvs.volume.case import Case
from ltvs.volume.images import VOLUME_SUFFIXES, read_ct, stem, volume_files

MASKS = ("liver", "vessel", "tumor")


def ltvs(path: Path, *, force: bool = False) -> Source:
    """List the cases in the subfolders of a folder, or the one case in the folder itself; each is a patient.

    Args:
        path: the folder.
        force: whether to take files that say that they are of another modality than CT.

    Raises:
        InputError: there is no folder with a case.
    """
    if path.is_dir() and _files(path):
        folders = [path.resolve()]
    else:
        folders = sorted(x for x in path.glob("*") if x.is_dir() and not x.name.startswith("."))
    cases: Source = {}
    for folder in folders:
        try:
            files = tuple(file for _, file in _files(folder))
        except InputError:
            files = ()  # loading this case reports the error; the others stay usable
        cases[folder.name] = Entry(partial(load_case, folder.name, folder, force=force), patient_of(folder.name), files)
    if not cases:
        raise InputError(
            f"{path}: expected a folder per case with {', '.join(('ct', *MASKS))} ({', '.join(VOLUME_SUFFIXES)}); "
            "found none"
        )
    return cases


def load_case(name: str, folder: Path, *, force: bool = False) -> Case:
    """Read one case.

    Args:
        name: of the case.
        folder: with its files.
        force: whether to take a file that says that it is of another modality than CT.

    Raises:
        InputError: one of the four files is missing, duplicated or cannot be read, or they do not lie on one grid.
    """
    ct_file, *masks = (_one_file(folder, part) for part in ("ct", *MASKS))
    ct = read_ct(ct_file, force=force)
    return Case(name, ct, *(read_mask_on(ct, mask) for mask in masks))


def _files(folder: Path) -> list[tuple[str, Path]]:
    """Return the parts of a case that are in a folder, each with its file."""
    try:
        volumes = volume_files(folder.iterdir())
    except OSError as error:
        raise InputError(f"{folder}: cannot be read ({error.strerror})") from error
    return [(stem(file).lower(), file) for file in volumes if stem(file).lower() in ("ct", *MASKS)]


def _one_file(folder: Path, part: str) -> Path:
    """Return the only file of a part."""
    found = [file for name, file in _files(folder) if name == part]
    if len(found) == 1:
        return found[0]
    if found:
        raise InputError(f"{folder}: expected one file {part}, got {', '.join(file.name for file in found)}; keep one")
    remedy = "" if part in ("ct", "liver") else f"; if the patient has no {part}, give an empty mask"
    raise InputError(f"{folder}: expected {part} ({', '.join(VOLUME_SUFFIXES)}), found none{remedy}")
