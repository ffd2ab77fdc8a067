"""Maps of tissues on disk: each patient from neck to thigh, and its liver on a finer grid; memory-mapped.

FOLDER/body.npy  FOLDER/liver.npy  FOLDER/places.npy  FOLDER/map.json
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy import ndarray
from torch import Tensor

from ltvs.anatomy.canvas import Canvas
from ltvs.anatomy.patient import Patient
from ltvs.anatomy.tissues import LIVER_TISSUES, LIVER_VESSELS, Tissue
from ltvs.phantom.fields import Triple, interpolated
from ltvs.runtime.errors import InputError
from ltvs.runtime.files import map_array, read_json, write_json

#: Version of the painter and of the files, raised when a seed gives another patient.
FORMAT = 3
#: mm of a voxel of the whole body and of the liver's box, and the margin of that box.
BODY, LIVER, MARGIN = 2.5, 1.25, 30.0
#: Number of voxels of the liver and of its vessels that are kept as centers of patches.
_PLACES = 4000


@dataclass(frozen=True)
class TissueMap:
    """A map of tissues.

    Args:
        tissue: (d, h, w), uint8.
        first: z, y, x of the first voxel, mm.
        spacing: of its voxels in all directions, mm.
        name: of its file, for messages.
    """

    tissue: UInt8[ndarray, "d h w"]
    first: tuple[float, float, float]
    spacing: float
    name: str = "map"

    def sample(self, knots: Tensor, size: Triple) -> Tensor:
        """Return the tissue at each voxel of an image, (d, h, w), uint8: the nearest; air beyond the map.

        Only the part of the map that the image spans is read.

        Args:
            knots: positions, (3, d, h, w) as z, y, x in mm, between which those of the voxels are interpolated.
            size: of the image.

        Raises:
            InputError: there are values that stand for no tissue: the file was damaged since.
        """
        first = torch.tensor(self.first, device=knots.device)[:, None, None, None]
        index = (knots - first) / self.spacing
        ends = (index.flatten(1).amin(1), index.flatten(1).amax(1) + 1)
        low, high = (np.clip(end.round().cpu().numpy(), 0, self.tissue.shape).astype(int).tolist() for end in ends)
        box = [slice(a, max(a, b)) for a, b in zip(low, high, strict=True)]
        part = self.tissue[tuple(box)]
        if part.size == 0:
            return torch.full(size, Tissue.AIR, dtype=torch.uint8, device=knots.device)
        if part.max() >= len(Tissue):
            raise InputError(
                f"{self.name}: expected tissues below {len(Tissue)}, got {part.max()}; paint the maps again"
            )
        # One voxel of air around, which everything beyond is clamped to.
        padded = torch.from_numpy(np.pad(part, 1)).to(knots.device)
        flat = torch.zeros(size, dtype=torch.int32, device=knots.device)
        for along, where, n in zip(index, box, padded.shape, strict=True):
            dense = interpolated(along, size)
            dense.add_(1 - where.start).round_().clamp_(0, n - 1)
            flat.mul_(n).add_(dense.int())
        return padded.flatten().index_select(0, flat.flatten()).view(size)


@dataclass(frozen=True)
class MappedPatient:
    """A patient's two maps, memory-mapped.

    Args:
        body: from neck to thigh.
        liver: the liver and what lies around it, finer.
        places: z, y, x of points in the liver, mm; the second half lies in its vessels.
        half_width: of the body, mm.
    """

    body: TissueMap
    liver: TissueMap
    places: Float[ndarray, "n 3"]
    half_width: float


def paint_maps(seed: int, folder: Path, body_spacing: float = BODY, liver_spacing: float = LIVER) -> None:
    """Paint a patient and write its maps into a folder.

    Args:
        seed: decides everything.
        folder: that exists.
        body_spacing: of the voxels of the whole body, mm.
        liver_spacing: of those of the liver, mm.
    """
    rng = np.random.default_rng((seed, 1))
    patient = Patient.draw((seed,), rng.uniform(317, 420))
    build = patient.build
    wide, deep = build.half_width + 20, build.half_depth + 45
    low, high = build.hips - 110 * build.scale, build.shoulders + 100 * build.scale
    body = _canvas((-wide, -deep, low), (wide, deep, high), body_spacing)
    patient.paint(body)
    inside = np.isin(body.tissue, LIVER_TISSUES)
    ends = []
    for axis, others in ((body.x, (0, 1)), (body.y, (0, 2)), (body.z, (1, 2))):
        span = np.flatnonzero(inside.any(axis=others))
        ends.append((float(axis[span[0]]) - MARGIN, float(axis[span[-1]]) + MARGIN))
    fine = _canvas([low for low, _ in ends], [high for _, high in ends], liver_spacing)
    patient.paint(fine)
    places = np.concatenate([_spread(fine, tissues, rng) for tissues in (LIVER_TISSUES, LIVER_VESSELS)])
    np.save(folder / "body.npy", body.tissue)
    np.save(folder / "liver.npy", fine.tissue)
    np.save(folder / "places.npy", places)
    grids = {"body": _grid(body, body_spacing), "liver": _grid(fine, liver_spacing)}
    write_json(folder / "map.json", {"format": FORMAT, "seed": seed, "half_width": build.half_width, **grids})


def open_maps(folder: Path) -> MappedPatient:
    """Open the maps of a patient.

    Raises:
        InputError: they are missing or damaged.
    """
    try:
        facts = read_json(folder / "map.json")
        if facts["format"] != FORMAT:
            raise ValueError(f"format {facts['format']}, expected {FORMAT}")
        body, liver, places = (map_array(folder / f"{name}.npy") for name in ("body", "liver", "places"))
        if any(array.ndim != 3 or array.dtype != np.uint8 for array in (body, liver)):
            raise ValueError("maps that are no volumes of tissues")
        if places.dtype != np.float32 or places.shape[1:] != (3,) or not len(places) or not np.isfinite(places).all():
            raise ValueError("places that are no points in mm")
        half_width = float(facts["half_width"])
        if not 50 < half_width < 500:
            raise ValueError(f"a body {half_width} mm wide to either side")
        of_body, of_liver = (
            _opened(tissue, facts[name], folder / f"{name}.npy") for name, tissue in (("body", body), ("liver", liver))
        )
        return MappedPatient(of_body, of_liver, places, half_width)
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{folder}: the maps are missing or damaged ({error}); paint them again") from error


def _opened(tissue: ndarray, grid: dict[str, Any], path: Path) -> TissueMap:
    z, y, x = (float(value) for value in grid["first"])
    spacing = float(grid["spacing"])
    if not (np.isfinite((z, y, x)).all() and 0.1 < spacing < 100):
        raise ValueError(f"voxels of {spacing} mm from {grid['first']} mm on")
    return TissueMap(tissue, (z, y, x), spacing, str(path))


def _canvas(low: Sequence[float], high: Sequence[float], step: float) -> Canvas:
    """Return an empty canvas from corner to corner, (x, y, z) mm."""
    x, y, z = (np.arange(a, b, step).astype(np.float32) for a, b in zip(low, high, strict=True))
    return Canvas(x, y, z)


def _grid(canvas: Canvas, spacing: float) -> dict[str, Any]:
    """Return z, y, x of the first voxel and the spacing, mm, as JSON holds them."""
    return {"first": [float(axis[0]) for axis in (canvas.z, canvas.y, canvas.x)], "spacing": spacing}


def _spread(canvas: Canvas, tissues: tuple[Tissue, ...], rng: np.random.Generator) -> ndarray:
    """Return z, y, x of random voxels of some tissues, mm, (n, 3)."""
    found = np.flatnonzero(np.isin(canvas.tissue, tissues))
    chosen = rng.choice(found, _PLACES, replace=len(found) < _PLACES)
    index = np.unravel_index(chosen, canvas.tissue.shape)
    points = [axis[i] for axis, i in zip((canvas.z, canvas.y, canvas.x), index, strict=True)]
    return np.stack(points, axis=1).astype(np.float32)
