"""MetaImage files, `.mha`: a header of lines `Name = value`, then the voxels.

ITK reads a compressed file without `CompressedDataSize`, or with a damaged stream, as if it were whole, and any other
file that `ElementDataFile` names.
"""

from pathlib import Path
from typing import IO, Any

import numpy as np
import SimpleITK as sitk

from ltvs.runtime.errors import InputError
from ltvs.volume.formats.header_lines import check_three_axes, header_lines
from ltvs.volume.formats.header_numbers import numbers_in, whole_numbers_in
from ltvs.volume.formats.voxels import read_voxels
from ltvs.volume.grids import Grid, sound_grid
from ltvs.volume.modality import check_modality

#: Types of voxels. `MET_LONG` is not among them: it has 4 bytes in some files and 8 in others.
_KINDS = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}

#: Names under which writers of several ages give one field.
_ORIGIN = ("Offset", "Position", "Origin")
_AXES = ("TransformMatrix", "Rotation", "Orientation")
_SPACING = ("ElementSpacing", "ElementSize")


def read_metaimage(path: Path, modality: str | None = None) -> sitk.Image:
    """Read a MetaImage file whose voxels are in the file itself.

    Args:
        path: of the file.
        modality: that it has to be of, if it says one; None takes any.

    Raises:
        InputError: a field is missing or makes no sense, the volume is not 3D with one value per voxel, it is of
            another modality, or voxels are missing or damaged.
    """
    with path.open("rb") as file:
        fields = _fields(path, file)
        check_modality(path, _modality(fields), modality)
        grid, kind = _grid(path, fields), _kind(path, fields)
        compressed = _is_true(fields, "CompressedData")
        if compressed:
            _check_compressed_size(path, fields, path.stat().st_size - file.tell())
        values = read_voxels(path, file, "zlib" if compressed else "raw", grid.size, kind)
    return grid.place(sitk.GetImageFromArray(values))


def _fields(path: Path, file: IO[bytes]) -> dict[str, str]:
    """Read the header, which `ElementDataFile` ends."""
    fields: dict[str, str] = {}
    for line in header_lines(file):
        name, equals, value = (part.strip() for part in line.partition("="))
        if not equals:
            break
        if name in fields:
            raise InputError(f"{path}: expected {name} once, got it twice; is it damaged? Export it again")
        fields[name] = value
        if name == "ElementDataFile":
            _check_plain(path, fields)
            return fields
    raise InputError(f"{path}: cannot be read as a volume; is it complete? (its header has no ElementDataFile)")


def _check_plain(path: Path, fields: dict[str, str]) -> None:
    """Raise InputError unless the file itself holds one value per voxel, in binary and as they are meant."""
    if fields["ElementDataFile"].upper() != "LOCAL":
        raise InputError(
            f"{path}: expected its voxels in the file itself, got ElementDataFile = {fields['ElementDataFile']}; "
            "save it as one file"
        )
    for name, meant in (("BinaryData", "True"), ("HeaderSize", "0"), ("ElementNumberOfChannels", "1")):
        found = fields.get(name, meant if name != "BinaryData" else "False")
        if found.lower() != meant.lower():
            remedy = "color images are not CT" if name == "ElementNumberOfChannels" else "save it again, e.g. with ITK"
            raise InputError(f"{path}: expected one value per voxel, {name} = {meant}, got {found}; {remedy}")
    for name, none in (("ElementToIntensityFunctionSlope", 1.0), ("ElementToIntensityFunctionOffset", 0.0)):
        if name in fields and numbers_in(path, name, fields[name].split(), 1) != (none,):
            raise InputError(f"{path}: expected values as they are, got {name} = {fields[name]}; apply it first")
    if fields.get("DistanceUnits", "mm").lower() not in ("mm", "?"):
        raise InputError(f"{path}: expected DistanceUnits = mm, got {fields['DistanceUnits']}; convert it to mm")


def _grid(path: Path, fields: dict[str, str]) -> Grid:
    axes = int(whole_numbers_in(path, "NDims", fields.get("NDims", "").split(), 1)[0])
    check_three_axes(path, axes)

    def numbers(names: tuple[str, ...], count: int, default: str = "") -> np.ndarray:
        given = [name for name in names if name in fields]
        name, text = (given[0], fields[given[0]]) if given else (names[0], default)
        return np.array(numbers_in(path, name, text.split(), count))

    x, y, z = whole_numbers_in(path, "DimSize", fields.get("DimSize", "").split(), 3)
    affine = np.eye(4)
    # Each three numbers of the matrix are the direction of one axis. A negative spacing turns its axis.
    affine[:3, :3] = numbers(_AXES, 9, "1 0 0 0 1 0 0 0 1").reshape(3, 3).T * numbers(_SPACING, 3)
    affine[:3, 3] = numbers(_ORIGIN, 3, "0 0 0")
    return sound_grid(path, (x, y, z), affine)


def _kind(path: Path, fields: dict[str, str]) -> np.dtype[Any]:
    """Return the type of the voxels with its byte order."""
    found = fields.get("ElementType", "")
    if found not in _KINDS:
        raise InputError(f"{path}: expected ElementType {', '.join(_KINDS)}; got {found or 'none'}; convert it again")
    big = any(_is_true(fields, name) for name in ("BinaryDataByteOrderMSB", "ElementByteOrderMSB"))
    return np.dtype(_KINDS[found]).newbyteorder(">" if big else "<")


def _check_compressed_size(path: Path, fields: dict[str, str], there: int) -> None:
    words = fields.get("CompressedDataSize", "").split()
    if not words:
        raise InputError(f"{path}: expected CompressedDataSize in a compressed file, got none; export it again")
    if whole_numbers_in(path, "CompressedDataSize", words, 1) != (there,):
        raise InputError(
            f"{path}: is cut short or damaged, {there} of {words[0]} compressed bytes are there; copy it again"
        )


def _is_true(fields: dict[str, str], name: str) -> bool:
    return fields.get(name, "").lower() in ("true", "t", "1")


def _modality(fields: dict[str, str]) -> str:
    """Return the modality that the header names, its own or that of the DICOM that it was made from."""
    found = fields.get("Modality", "").removeprefix("MET_MOD_")
    return fields.get("0008|0060", "") if found in ("", "UNKNOWN", "OTHER") else found
