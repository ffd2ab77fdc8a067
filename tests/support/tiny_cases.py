"""Small patients with known geometry."""

from collections.abc import Callable
from itertools import permutations, product
from zlib import crc32

import numpy as np
import SimpleITK as sitk
from scipy.spatial.transform import Rotation

from ltvs.sources import Entry, Source
from ltvs.volume.case import Case
from ltvs.volume.grids import Grid
from ltvs.volume.images import same_grid

SIGNED_PERMUTATIONS = [
    np.eye(3)[list(order)] * signs for order in permutations(range(3)) for signs in product((1, -1), repeat=3)
]
OBLIQUE = [
    Rotation.from_euler("xyz", angles, degrees=True).as_matrix() @ SIGNED_PERMUTATIONS[k]
    for k, angles in ((0, (12, -9, 20)), (11, (-7, 15, 4)), (22, (3, 25, -18)), (45, (0, 0, 30)))
]


def grid(direction: np.ndarray = SIGNED_PERMUTATIONS[0], size: tuple[int, int, int] = (28, 25, 21)) -> Grid:
    """Return a grid whose axes all differ in size and spacing."""
    return Grid(size, (1.3, 1.5, 2.0), (-31.0, 12.5, 140.0), tuple(np.ravel(direction).tolist()))


def points(where: Grid) -> np.ndarray:
    """Return the center of every voxel in mm, (d, h, w, 3)."""
    index = np.stack(np.meshgrid(*(np.arange(n) for n in where.size[::-1]), indexing="ij")[::-1], axis=-1)
    return where.origin + (index * where.spacing) @ np.reshape(where.direction, (3, 3)).T


def indices(where: Grid, mm: np.ndarray) -> np.ndarray:
    """Return the (fractional) index of each point given in mm, (..., 3)."""
    return (mm - where.origin) @ np.linalg.inv(np.reshape(where.direction, (3, 3))).T / where.spacing


def center(where: Grid) -> np.ndarray:
    return where.physical((np.array(where.size) - 1) / 2)


def image(array: np.ndarray, where: Grid) -> sitk.Image:
    return where.place(sitk.GetImageFromArray(array))


def ball(where: Grid, middle: np.ndarray, radius: float) -> np.ndarray:
    """Return a mask (d, h, w) that is true within `radius` mm of a point."""
    return np.linalg.norm(points(where) - middle, axis=-1) <= radius


def tiny_case(name: str = "tiny", direction: np.ndarray = SIGNED_PERMUTATIONS[0]) -> Case:
    """Return a spherical liver with a vessel that leaves it along x and a tumor on its surface, and air along one edge.

    One voxel of the CT depends on the name, so that cases of different names differ.
    """
    where = grid(direction)
    x, y, z = np.moveaxis(points(where) - center(where), -1, 0)
    liver = ball(where, center(where), 11)
    vessel = (np.hypot(y, z) <= 3) & (x > 0)
    tumor = ball(where, np.add(center(where), (-9, 2, 1)), 4)
    hu = np.full(liver.shape, -80, dtype=np.int16)
    hu[:, 0, :2] = -1000
    hu[liver], hu[vessel], hu[tumor] = 100, 146, 76
    hu[0, 0, 0] += crc32(name.encode()) % 1000
    masks = (image(mask.astype(np.uint8), where) for mask in (liver, vessel, tumor))
    return Case(name, image(hu, where), *masks)


def listed(**loads: Callable[[], Case]) -> Source:
    """Return a source of these cases, each of a different patient."""
    return {name: Entry(load, name, ()) for name, load in loads.items()}


def array(volume: sitk.Image) -> np.ndarray:
    return sitk.GetArrayFromImage(volume)


def assert_is_the_tiny_case(case: Case, structures: tuple[str, ...] = ("liver", "vessel", "tumor")) -> None:
    """Assert that a source has read the CT and the masks of `tiny_case`, with the right grid and pixel type."""
    expected = tiny_case()
    for name in ("ct", *structures):
        got = getattr(case, name)
        np.testing.assert_array_equal(array(got), array(getattr(expected, name)), err_msg=name)
        assert same_grid(got, expected.ct), name
        assert got.GetPixelID() == (sitk.sitkInt16 if name == "ct" else sitk.sitkUInt8)


def without_liver(name: str) -> Case:
    case = tiny_case(name)
    return Case(name, case.ct, case.liver * 0, case.vessel, case.tumor * 0)
