"""LiTS17 as published: `volume-N.nii` and `segmentation-N.nii`, N from 0 to 130, 1 liver, 2 tumor, no vessels.

The download comes in batches and is mirrored in other folders, zipped file by file or not, so files are found by name
anywhere below the folder. The 70 `test-volume-N.nii` have no labels and are left out.
"""

import re
from functools import partial
from pathlib import Path

from ltvs.runtime.errors import InputError
from ltvs.sources import Entry, Source
from ltvs.sources.ct_and_masks import existing, load_liver_and_tumor

_FILE = re.compile(r"(volume|segmentation)-(\d+)\.nii(?:\.gz)?", re.IGNORECASE)


def lits(path: Path) -> Source:
    """List the training cases anywhere in a folder: liver and tumors, no vessels.

    Raises:
        InputError: no case is found, or a file twice.
    """
    files: dict[tuple[str, int], Path] = {}
    for file in sorted(path.rglob("*")):
        match = _FILE.fullmatch(file.name)
        if match is None or not file.is_file():
            continue
        key = (match[1].lower(), int(match[2]))
        if key in files:
            raise InputError(f"{path}: expected each file once, got {files[key]} and {file}; keep one of the two")
        files[key] = file
    cases: Source = {}
    for number in sorted(number for kind, number in files if kind == "volume"):
        name = f"lits-{number:03d}"
        volume = files["volume", number]
        labels = files.get(("segmentation", number), volume.with_name(f"segmentation-{number}.nii"))
        cases[name] = Entry(partial(load_liver_and_tumor, name, volume, labels), name, existing(volume, labels))
    if not cases:
        raise InputError(f"{path}: expected volume-N.nii and segmentation-N.nii in it, found none; unpack it first")
    return cases
