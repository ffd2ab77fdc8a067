"""Made patients: CT phantoms, each decided by its seed alone."""

from functools import partial
from pathlib import Path

from ltvs.case import Case
from ltvs.errors import InputError
from ltvs.images import VOLUME_SUFFIXES, read_labels
from ltvs.phantom import make_phantom
from ltvs.sources import Source


def phantoms(count: int, seed: int, matrix: int, anatomy: Path | None) -> Source:
    """`count` phantoms, from seed `seed` on; with `anatomy`, around the livers and vessels of real label maps.

    Args:
        count: how many; each anatomy is used in turn.
        seed: of the first one.
        matrix: rows and columns of the CT.
        anatomy: folder of label maps, 1 liver and 2 vessel, or None for made ones.

    Raises:
        InputError: fewer than one phantom, or no label map in the folder.
    """
    if count < 1:
        raise InputError(f"--count: expected 1 or more; got {count}")
    maps: list[Path] = []
    if anatomy is not None:
        maps = sorted(path for path in anatomy.glob("*") if path.name.lower().endswith(VOLUME_SUFFIXES))
        if not maps:
            raise InputError(f"{anatomy}: no label maps here (expected {', '.join(VOLUME_SUFFIXES)})")
    return {
        f"phantom-{seed + i:04d}": partial(_load, seed + i, matrix, maps[i % len(maps)] if maps else None)
        for i in range(count)
    }


def _load(seed: int, matrix: int, anatomy: Path | None) -> Case:
    return make_phantom(seed, matrix=matrix, anatomy=None if anatomy is None else read_labels(anatomy))
