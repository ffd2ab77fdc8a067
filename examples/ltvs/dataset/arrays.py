"""The files of one case on the grid of one stage: memory-mapped arrays, and facts that sampling needs beforehand.

CASE/image.npy  CASE/labels.npy  CASE/places.npy  CASE/grid.json  CASE/facts.json

The arrays are mapped for every read and released after it: a read touches no more than it returns, and a process that
has read a hundred cases holds no more memory than after one.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int16, Int32, UInt8
from numpy import ndarray

from ltvs.model.stage_view import StageView
from ltvs.model.stages import CLASSES, Stage
from ltvs.runtime.errors import InputError
from ltvs.runtime.files import map_array, read_json, write_json
from ltvs.volume.grids import Grid

#: Number of voxels of each class kept as `places`: enough to find it everywhere in any number of epochs.
_MOST_PLACES = 10_000


@dataclass(frozen=True)
class PreparedCase:
    """One case on the grid of one stage, memory-mapped.

    Args:
        image: HU clipped to the window, (d, h, w).
        labels: 0 background, 1 liver, 2 vessel, 3 tumor, (d, h, w).
        grid: of both arrays.
        hu_offset: HU that the network of the stage sees as 0.
        places: (d, h, w) of voxels of each foreground class, spread evenly over all of them.
    """

    image: Int16[ndarray, "d h w"]
    labels: UInt8[ndarray, "d h w"]
    grid: Grid
    hu_offset: float
    places: tuple[Int32[ndarray, "n 3"], ...]


def write_case(
    folder: Path,
    image: Int16[ndarray, "d h w"],
    labels: UInt8[ndarray, "d h w"],
    grid: Grid,
    view: StageView,
) -> None:
    """Write the files of a case on the grid of a stage into a new folder.

    Args:
        folder: of the case and the stage.
        image: HU clipped to the window.
        labels: 0 background, 1 liver, 2 vessel, 3 tumor.
        grid: of both arrays.
        view: of the stage whose grid it is.

    Raises:
        OSError: the files cannot be written.
        InputError: a JSON file cannot be written.
    """
    folder.mkdir(parents=True)
    target = view.target(labels)
    places = [_spread(np.flatnonzero(target == k)) for k in range(1, len(CLASSES[view.stage]))]
    np.save(folder / "image.npy", image)
    np.save(folder / "labels.npy", labels)
    np.save(folder / "places.npy", np.stack(np.unravel_index(np.concatenate(places), labels.shape), 1).astype(np.int32))
    write_json(folder / "grid.json", grid.json())
    hu_offset = view.hu_offset(image, view.region(labels))
    write_json(folder / "facts.json", {"zero": hu_offset, "places": [len(of_class) for of_class in places]})


def open_case(folder: Path, stage: Stage) -> PreparedCase:
    """Return the case in a folder, memory-mapped.

    Raises:
        InputError: they are missing or damaged.
    """
    try:
        image, labels, places = (map_array(folder / f"{name}.npy") for name in ("image", "labels", "places"))
        grid, facts = Grid.from_json(read_json(folder / "grid.json")), read_json(folder / "facts.json")
        hu_offset, counts = float(facts["zero"]), [int(count) for count in facts["places"]]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{folder}: the prepared case is missing or damaged ({error}); prepare it again") from error
    if (
        image.shape != labels.shape
        or image.shape != grid.size[::-1]
        or len(counts) != len(CLASSES[stage]) - 1
        or places.shape != (sum(counts), 3)
        or [array.dtype for array in (image, labels, places)] != [np.dtype(name) for name in ("i2", "u1", "i4")]
    ):
        raise InputError(f"{folder}: image, labels, grid and facts do not belong together; prepare it again")
    return PreparedCase(image, labels, grid, hu_offset, tuple(np.split(places, np.cumsum(counts)[:-1])))


def _spread(voxels: ndarray) -> ndarray:
    """Return at most `_MOST_PLACES` of the voxels, evenly spaced."""
    if len(voxels) <= _MOST_PLACES:
        return voxels
    chosen: ndarray = voxels[np.linspace(0, len(voxels) - 1, _MOST_PLACES).astype(int)]
    return chosen
