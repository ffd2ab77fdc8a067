"""Synthetic patients: CT phantoms, each decided by its seed alone."""

from functools import partial
from pathlib import Path

from ltvs.phantom.cohort import make_phantom
from ltvs.runtime.errors import InputError
from ltvs.sources import Entry, Source
from ltvs.volume.case import Case
from ltvs.volume.images import VOLUME_SUFFIXES, read_labels, volume_files


def phantoms(count: int, seed: int, matrix: int, slice_spacing: float | None, anatomy: Path | None) -> Source:
    """List phantoms, which are named by their seeds.

    Args:
        count: number of phantoms.
        seed: of the first one.
        matrix: rows and columns of the CT.
        slice_spacing: of the CT, mm; drawn for each phantom if None.
        anatomy: folder of label maps, 1 liver and 2 vessel, each to build one phantom around; synthetic ones if None.

    Raises:
        InputError: fewer than one phantom, no label map in the folder, or more phantoms than label maps.
    """
    if count < 1:
        raise InputError(f"--count: expected 1 or more; got {count}")
    maps = [] if anatomy is None else volume_files(anatomy.glob("*"))
    if anatomy is not None and not maps:
        raise InputError(f"{anatomy}: expected label maps ({', '.join(VOLUME_SUFFIXES)}), found none")
    if anatomy is not None and count > len(maps):
        # The same liver in training and test would make the scores look better than they are.
        raise InputError(f"--count: expected at most {len(maps)}, one phantom per map in {anatomy}; got {count}")
    cases: Source = {}
    for i in range(count):
        name, files = f"phantom-{seed + i:04d}", tuple(maps[i : i + 1])
        cases[name] = Entry(partial(load_case, seed + i, matrix, slice_spacing, *files), name, files)
    return cases


def load_case(seed: int, matrix: int, slice_spacing: float | None, anatomy: Path | None = None) -> Case:
    """Make one phantom, around the anatomy in a label map if given."""
    labels = None if anatomy is None else read_labels(anatomy)
    return make_phantom(seed, matrix=matrix, slice_spacing=slice_spacing, anatomy=labels)
