"""Your own cohort: one folder per case with `ct`, `liver`, `vessel` and `tumor`, each one volume file.

    CASE/{ct,liver,vessel,tumor}.nii.gz     or .nii, .nrrd, .mha

All four have to be there. A patient without tumors has an empty mask: a file that was forgotten must not teach the
networks that there are none.
"""

from functools import partial
from pathlib import Path

from ltvs.runtime.errors import InputError
from ltvs.sources import Entry, Source
from ltvs.sources.identity import patient_of
from ltvs.sources.labeled import check_grid
from ltvs.volume.case import Case
from ltvs.volume.images import VOLUME_SUFFIXES, read_ct, read_mask, stem

PARTS = ("ct", "liver", "vessel", "tumor")


def ltvs(path: Path) -> Source:
    """The cases in the folders of a folder, or the one case whose folder it is; each is a patient of its own.

    Raises:
        InputError: there is no folder with a case.
    """
    if path.is_dir() and _files(path):
        folders = [path.resolve()]
    else:
        folders = sorted(x for x in path.glob("*") if x.is_dir() and not x.name.startswith("."))
    if not folders:
        raise InputError(
            f"{path}: expected a folder per case with {', '.join(PARTS)} ({', '.join(VOLUME_SUFFIXES)}); found none"
        )
    cases: Source = {}
    for folder in folders:
        try:
            files = tuple(file for _, file in _files(folder))
        except InputError:
            files = ()  # loading it says what is wrong, and leaves the others in peace
        cases[folder.name] = Entry(partial(load_case, folder), patient_of(folder.name), files)
    return cases


def load_case(folder: Path) -> Case:
    """Read one case.

    Raises:
        InputError: one of the four is missing, there twice or cannot be read, or they do not lie on one grid.
    """
    files = {part: _one_file(folder, part) for part in PARTS}
    ct = read_ct(files["ct"])
    masks = {}
    for part in PARTS[1:]:
        masks[part] = read_mask(files[part])
        check_grid(f"{files[part]}:", masks[part], ct)
    return Case(folder.name, ct, **masks)


def _files(folder: Path) -> list[tuple[str, Path]]:
    """The parts of a case that are in a folder, by name."""
    try:
        volumes = [file for file in sorted(folder.iterdir()) if file.name.lower().endswith(VOLUME_SUFFIXES)]
    except OSError as error:
        raise InputError(f"{folder}: cannot be read ({error.strerror})") from error
    return [(stem(file).lower(), file) for file in volumes if stem(file).lower() in PARTS]


def _one_file(folder: Path, part: str) -> Path:
    found = [file for name, file in _files(folder) if name == part]
    if len(found) == 1:
        return found[0]
    if found:
        raise InputError(f"{folder}: expected one file {part}, got {', '.join(file.name for file in found)}; keep one")
    remedy = "" if part in ("ct", "liver") else f"; if the patient has no {part}, give an empty mask"
    raise InputError(f"{folder}: expected {part} ({', '.join(VOLUME_SUFFIXES)}), found none{remedy}")
