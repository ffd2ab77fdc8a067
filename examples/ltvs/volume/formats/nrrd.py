"""NRRD files, `.nrrd`: a header of lines `field: value` and `key:=value` up to an empty line, then the voxels."""

import re
from pathlib import Path
from typing import IO, Any

import numpy as np
import SimpleITK as sitk

from ltvs.runtime.errors import InputError
from ltvs.volume.formats.header_lines import check_three_axes, header_lines
from ltvs.volume.formats.header_numbers import numbers_in, whole_numbers_in
from ltvs.volume.formats.voxels import Encoding, read_voxels
from ltvs.volume.grids import Grid, sound_grid
from ltvs.volume.modality import check_modality

#: All names of each type of voxels.
_KINDS = {
    "i1": "signed char, int8, int8_t",
    "u1": "uchar, unsigned char, uint8, uint8_t",
    "i2": "short, short int, signed short, signed short int, int16, int16_t",
    "u2": "ushort, unsigned short, unsigned short int, uint16, uint16_t",
    "i4": "int, signed int, int32, int32_t",
    "u4": "uint, unsigned int, uint32, uint32_t",
    "i8": "longlong, long long, long long int, signed long long, signed long long int, int64, int64_t",
    "u8": "ulonglong, unsigned long long, unsigned long long int, uint64, uint64_t",
    "f4": "float",
    "f8": "double",
}
_KIND_OF = {name: kind for kind, names in _KINDS.items() for name in names.split(", ")}

_ENCODINGS: dict[str, Encoding] = {"raw": "raw", "gzip": "gzip", "gz": "gzip", "bzip2": "bzip2", "bz2": "bzip2"}

#: To ITK's axes, left, back, head, from the patient's axes that a header may name.
_SPACES = {
    "left-posterior-superior": (1, 1, 1),
    "lps": (1, 1, 1),
    "right-anterior-superior": (-1, -1, 1),
    "ras": (-1, -1, 1),
    "left-anterior-superior": (1, -1, 1),
    "las": (1, -1, 1),
}


def read_nrrd(path: Path, modality: str | None = None) -> sitk.Image:
    """Read a NRRD file whose voxels are in the file itself, raw or compressed.

    Args:
        path: of the file.
        modality: that it has to be of, if it says one; None takes any.

    Raises:
        InputError: a field is missing or makes no sense, the volume is not 3D with one value per voxel, it is of
            another modality, or voxels are missing or damaged.
    """
    with path.open("rb") as file:
        fields = _fields(path, file)
        check_modality(path, fields.get("=modality") or fields.get("=0008|0060") or "", modality)
        grid, kind = _grid(path, fields), _kind(path, fields)
        encoding = _ENCODINGS.get(fields.get("encoding", "").lower())
        if encoding is None:
            raise InputError(
                f"{path}: expected encoding raw, gzip or bzip2, got {fields.get('encoding', 'none')}; "
                "save it again as one of these"
            )
        values = read_voxels(path, file, encoding, grid.size, kind)
    return grid.place(sitk.GetImageFromArray(values))


def _fields(path: Path, file: IO[bytes]) -> dict[str, str]:
    """Read the header; keys get an equals sign in front, as they are free, and may have the name of a field."""
    lines = header_lines(file)
    if not re.fullmatch(r"NRRD000[1-5]\s*", next(lines)):
        raise InputError(f"{path}: cannot be read as a volume; is it complete? (it does not begin with NRRD000N)")
    fields: dict[str, str] = {}
    for line in lines:
        if not line.endswith("\n"):
            break
        if not line.strip():
            _check_plain(path, fields)
            return fields
        if line.startswith("#"):
            continue
        name, colon, value = (part.strip() for part in line.partition(":"))
        if not colon:
            break
        name = f"={name.lower()}" if value.startswith("=") else name.lower()
        if name in fields and not name.startswith("="):
            raise InputError(f"{path}: expected {name} once, got it twice; is it damaged? Export it again")
        fields[name] = value.removeprefix("=")
    raise InputError(f"{path}: cannot be read as a volume; is it complete? (its header does not end)")


def _check_plain(path: Path, fields: dict[str, str]) -> None:
    """Raise InputError if voxels are in other files, or after something else."""
    for name in ("data file", "datafile"):
        if name in fields:
            raise InputError(
                f"{path}: expected its voxels in the file itself, got {name}: {fields[name]}; save it as one file"
            )
    for name in ("byte skip", "byteskip", "line skip", "lineskip"):
        if fields.get(name, "0") != "0":
            raise InputError(f"{path}: expected no {name}, got {fields[name]}; save it again, e.g. with ITK")


def _grid(path: Path, fields: dict[str, str]) -> Grid:
    (axes,) = whole_numbers_in(path, "dimension", fields.get("dimension", "").split(), 1)
    sizes = fields.get("sizes", "").split()
    kinds = fields.get("kinds", "").lower().split()
    if any(kind.endswith(("color", "vector", "matrix", "complex", "point", "normal", "gradient")) for kind in kinds):
        raise InputError(f"{path}: expected one value per voxel, got kinds {' '.join(kinds)}; color images are not CT")
    check_three_axes(path, axes)
    x, y, z = whole_numbers_in(path, "sizes", sizes, 3)
    space = fields.get("space", "").lower()
    if space not in _SPACES:
        raise InputError(
            f"{path}: expected a space of left-posterior-superior, right-anterior-superior or left-anterior-superior, "
            f"got {space or 'none'}, so the orientation is unknown; convert the CT from DICOM again"
        )
    _check_units(path, fields)
    affine = np.eye(4)
    affine[:3, :3] = _vectors(path, fields, "space directions", 3).T
    affine[:3, 3] = _vectors(path, fields, "space origin", 1)[0] if "space origin" in fields else 0
    return sound_grid(path, (x, y, z), np.diag([*_SPACES[space], 1]) @ affine)


def _vectors(path: Path, fields: dict[str, str], name: str, count: int) -> np.ndarray:
    """Return vectors of three numbers each: `(1,0,0) (0,1,0)`, for example."""
    text = fields.get(name, "")
    vectors = re.findall(r"\(([^()]*)\)", text)
    if len(vectors) != count or re.sub(r"\([^()]*\)", "", text).strip():
        raise InputError(f"{path}: expected {name} of {count} vectors, got {text[:60] or 'none'!r}; export it again")
    return np.array([numbers_in(path, name, [word.strip() for word in vector.split(",")], 3) for vector in vectors])


def _check_units(path: Path, fields: dict[str, str]) -> None:
    units = re.findall(r'"([^"]*)"', fields.get("space units", ""))
    if any(unit.strip().lower() not in ("mm", "millimeter", "millimeters", "") for unit in units):
        raise InputError(f"{path}: expected space units of mm, got {fields['space units']}; convert it to mm")


def _kind(path: Path, fields: dict[str, str]) -> np.dtype[Any]:
    """Return the type of the voxels with its byte order."""
    name = " ".join(fields.get("type", "").lower().split())
    if name not in _KIND_OF:
        raise InputError(f"{path}: expected a type of integers or floats, got {name or 'none'}; convert it again")
    kind = np.dtype(_KIND_OF[name])
    endian = fields.get("endian", "").lower()
    if kind.itemsize > 1 and endian not in ("little", "big"):
        raise InputError(f"{path}: expected endian little or big, got {endian or 'none'}; export it again")
    return kind.newbyteorder(">" if endian == "big" else "<")
