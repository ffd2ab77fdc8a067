"""Made patients: CT phantoms, each decided by its seed alone."""

from functools import partial
from pathlib import Path

from ltvs.phantom import make_phantom
from ltvs.runtime.errors import InputError
from ltvs.sources import Entry, Source
from ltvs.volume.case import Case
from ltvs.volume.images import VOLUME_SUFFIXES, read_labels


def phantoms(count: int, seed: int, matrix: int, slice_spacing: float | None, anatomy: Path | None) -> Source:
    """`count` phantoms, from seed `seed` on; with `anatomy`, around the livers and vessels of real label maps.

    Args:
        count: how many.
        seed: of the first one; a phantom is named by its seed.
        matrix: rows and columns of the CT.
        slice_spacing: of the CT, mm; drawn for each phantom if None.
        anatomy: folder of label maps, 1 liver and 2 vessel, or None for made ones; one phantom per map at most.

    Raises:
        InputError: fewer than one phantom, no label map in the folder, or more phantoms than label maps.
    """
    if count < 1:
        raise InputError(f"--count: expected 1 or more; got {count}")
    maps: list[Path] = []
    if anatomy is not None:
        maps = sorted(path for path in anatomy.glob("*") if path.name.lower().endswith(VOLUME_SUFFIXES))
        if not maps:
            raise InputError(f"{anatomy}: expected label maps ({', '.join(VOLUME_SUFFIXES)}), found none")
        if count > len(maps):
            # The same liver in training and test would make the scores look better than they are.
            raise InputError(f"--count: expected at most {len(maps)}, one phantom per map in {anatomy}; got {count}")
    cases: Source = {}
    for i in range(count):
        name, anatomies = f"phantom-{seed + i:04d}", tuple(maps[i : i + 1])
        cases[name] = Entry(partial(_load, seed + i, matrix, slice_spacing, *anatomies), name, anatomies)
    return cases


def _load(seed: int, matrix: int, slice_spacing: float | None, anatomy: Path | None = None) -> Case:
    return make_phantom(
        seed, matrix=matrix, slice_spacing=slice_spacing, anatomy=None if anatomy is None else read_labels(anatomy)
    )
