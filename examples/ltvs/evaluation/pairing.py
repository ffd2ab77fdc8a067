"""Pairs of label maps: predictions with their references, by name and on one grid."""

from pathlib import Path

import SimpleITK as sitk

from ltvs.runtime.errors import InputError, few, plain
from ltvs.volume.grids import Grid
from ltvs.volume.images import VOLUME_SUFFIXES, read_labels, same_grid, stem, volume_files


def pair_cases(prediction: Path, reference: Path) -> dict[str, tuple[Path, Path]]:
    """Return the predicted and the reference label map of each case by name.

    Args:
        prediction: a label map, or a folder of them.
        reference: the same; maps in two folders are paired by name without suffix.

    Raises:
        InputError: a path does not exist, only one is a folder, a folder has no label map or two of one name, or a case
            lacks one of its two maps.
    """
    for path in (prediction, reference):
        if not path.exists():
            raise InputError(f"{path}: does not exist")
    if not prediction.is_dir() and not reference.is_dir():
        return {stem(reference): (prediction, reference)}
    if not prediction.is_dir() or not reference.is_dir():
        folder, file = (prediction, reference) if prediction.is_dir() else (reference, prediction)
        raise InputError(f"{folder} is a folder and {file} is not; give two label maps or two folders of label maps")
    predictions, references = _label_maps(prediction), _label_maps(reference)
    for there, here, folder in ((predictions, references, reference), (references, predictions, prediction)):
        if alone := sorted(set(there) - set(here)):
            raise InputError(f"{folder}: lacks {few(alone)}; every prediction needs a reference and the reverse")
    return {name: (predictions[name], references[name]) for name in sorted(references)}


def read_pair(prediction: Path, reference: Path) -> tuple[sitk.Image, sitk.Image]:
    """Read both label maps of a case.

    Raises:
        InputError: one cannot be read, has labels other than 0 to 3, or their grids differ.
    """
    maps = read_labels(prediction), read_labels(reference)
    if not same_grid(*maps):
        p, r = (Grid.of(labels).json() for labels in maps)
        differ = "; ".join(f"{key} {plain(p[key])} and {plain(r[key])}" for key in p if p[key] != r[key])
        raise InputError(
            f"{prediction} and {reference}: expected one grid, got {differ}; resample the prediction to the reference"
        )
    return maps


def _label_maps(folder: Path) -> dict[str, Path]:
    """Return the label maps in a folder by the name of the case."""
    maps: dict[str, Path] = {}
    for path in volume_files(folder.iterdir()):
        if stem(path) in maps:
            raise InputError(f"{path} and {maps[stem(path)].name} have one name; keep one label map per case")
        maps[stem(path)] = path
    if not maps:
        raise InputError(f"{folder}: expected label maps ({', '.join(VOLUME_SUFFIXES)}), found none")
    return maps
