"""Surfaces in files of viewers, printers and navigation systems: binary STL and PLY, in millimeters."""

from pathlib import Path

import numpy as np

from ltvs.delivery.surfaces import Surface
from ltvs.runtime.errors import InputError
from ltvs.runtime.files import atomic_path

MESH_SUFFIXES = (".stl", ".ply")

#: How the header of a file says what its coordinates are, as 3D Slicer writes and reads it.
_SPACE = "SPACE=LPS"


def write_mesh(surface: Surface, path: Path) -> None:
    """Write a surface as binary STL or PLY, by the suffix of the name, atomically.

    Coordinates are millimeters of the patient, LPS as in DICOM, and the file's header says so.

    Args:
        surface: the surface.
        path: the file to write, `.stl` or `.ply`.

    Raises:
        InputError: the name has another suffix, or the file cannot be written.
    """
    suffix = path.suffix.lower()
    if suffix not in MESH_SUFFIXES:
        raise InputError(f"{path}: expected a name that ends in {', '.join(MESH_SUFFIXES)}")
    content = _stl(surface) if suffix == ".stl" else _ply(surface)
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def _stl(surface: Surface) -> bytes:
    """Return the content of an STL file: 80 bytes of header, the number of triangles, and 50 bytes for each."""
    kind = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
    triangles = np.zeros(len(surface.faces), kind)
    corners = surface.points[surface.faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    lengths = np.linalg.norm(normals, axis=1, keepdims=True)
    # A triangle without area has none, which readers then find for themselves.
    triangles["normal"] = np.divide(normals, lengths, where=lengths > 0, out=np.zeros_like(normals))
    triangles["corners"] = corners
    # Not `solid` at the start, by which readers know an STL in text.
    header = f"binary STL; {_SPACE}; millimeters".ljust(80).encode()
    return header + np.array(len(triangles), "<u4").tobytes() + triangles.tobytes()


def _ply(surface: Surface) -> bytes:
    """Return the content of a PLY file: a header in text, the points, and the corners of each triangle."""
    lines = [
        "ply",
        "format binary_little_endian 1.0",
        f"comment {_SPACE}",
        "comment millimeters",
        f"element vertex {len(surface.points)}",
        *(f"property float {axis}" for axis in "xyz"),
        f"element face {len(surface.faces)}",
        "property list uchar int vertex_indices",
        "end_header",
    ]
    faces = np.empty(len(surface.faces), [("count", "u1"), ("corners", "<i4", 3)])
    faces["count"], faces["corners"] = 3, surface.faces
    return "\n".join([*lines, ""]).encode() + surface.points.astype("<f4").tobytes() + faces.tobytes()
