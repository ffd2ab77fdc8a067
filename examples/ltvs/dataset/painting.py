"""Paint maps of tissues into a data set, several at a time. If the run is killed, each map is whole or absent."""

import shutil
from contextlib import closing
from functools import partial
from pathlib import Path

from tqdm import tqdm

from ltvs.dataset.digests import digest
from ltvs.dataset.layout import MAPS
from ltvs.phantom.maps import open_maps, paint_maps
from ltvs.runtime.errors import InputError
from ltvs.runtime.files import atomic_path, read_json, remove_leftovers, write_json
from ltvs.runtime.workers import Failure, work_through

#: Digest of each file of the maps of a patient.
_DIGESTS = "digests.json"


def paint_all(count: int, output: Path, workers: int) -> int:
    """Paint the patients 0 to `count` - 1 into a data set that no other process works on.

    Returns:
        How many were not there before.

    Raises:
        InputError: a map cannot be painted or written.
    """
    folder = output / MAPS
    remove_leftovers(folder)
    names = {f"{seed:04d}": seed for seed in range(count)}
    tasks = {name: partial(_paint, seed, folder / name) for name, seed in names.items() if not _is_whole(folder / name)}
    with closing(work_through(tasks, max(1, min(workers, len(tasks))))) as results:
        for name, result in tqdm(results, total=len(tasks), desc="painting", unit="map", disable=not tasks):
            if isinstance(result, Failure):
                raise InputError(f"{folder / name}: cannot be painted ({result.reason})")
    return len(tasks)


def _is_whole(folder: Path) -> bool:
    """Return whether there are maps that can be used: neither missing, nor damaged, nor of an older format.

    Maps that were painted before digests were kept count if they open.
    """
    try:
        open_maps(folder)
        painted = read_json(folder / _DIGESTS) if (folder / _DIGESTS).exists() else None
    except InputError:
        return False
    return painted is None or painted == _digests(folder)


def _digests(folder: Path) -> dict[str, str | None]:
    return {path.name: digest(path) for path in sorted(folder.iterdir()) if path.name != _DIGESTS}


def _paint(seed: int, folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)
    with atomic_path(folder) as temporary:
        temporary.mkdir()
        paint_maps(seed, temporary)
        write_json(temporary / _DIGESTS, _digests(temporary))
