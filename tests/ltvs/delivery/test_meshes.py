"""Mesh files, as an independent reader sees them."""

from pathlib import Path

import numpy as np
import pytest
import trimesh

from ltvs.delivery.meshes import write_mesh
from ltvs.delivery.surfaces import Surface, mask_surface
from ltvs.runtime.errors import InputError
from support.tiny_cases import OBLIQUE, ball, center, grid


@pytest.fixture(scope="module")
def surface() -> Surface:
    where = grid(OBLIQUE[2])
    return mask_surface(ball(where, center(where), 9), where)


@pytest.mark.parametrize("name", ["x.stl", "x.ply", "x.STL", "Äpfel und\nx.ply"])
def test_a_reader_finds_the_same_closed_surface(tmp_path: Path, surface: Surface, name: str) -> None:
    write_mesh(surface, tmp_path / name)
    kind = name[-3:].lower()
    with (tmp_path / name).open("rb") as file:
        read = trimesh.load_mesh(file, file_type=kind)
    assert read.is_watertight
    assert read.is_winding_consistent
    a, b, c = surface.points[surface.faces].transpose(1, 0, 2)
    # Coordinates below 256 mm are rounded to 2**-17 mm, and the area is 900 mm2.
    assert read.volume == pytest.approx(float((a * np.cross(b, c)).sum() / 6), abs=0.02)
    np.testing.assert_allclose(read.triangles, surface.points[surface.faces], atol=2**-16)
    assert [*tmp_path.iterdir()] == [tmp_path / name]


def test_an_stl_has_unit_normals_that_point_outward(tmp_path: Path, surface: Surface) -> None:
    write_mesh(surface, tmp_path / "x.stl")
    content = (tmp_path / "x.stl").read_bytes()
    assert len(content) == 84 + 50 * len(surface.faces)
    assert not content.startswith(b"solid")
    assert b"SPACE=LPS" in content[:80]
    numbers = np.frombuffer(content[84:], np.dtype([("normal", "<f4", 3), ("rest", "V38")]))["normal"]
    np.testing.assert_allclose(np.linalg.norm(numbers, axis=1), 1, atol=1e-6)
    outward = surface.points[surface.faces].mean(axis=1) - surface.points.mean(axis=0)
    assert ((numbers * outward).sum(axis=1) > 0).mean() > 0.99


def test_a_triangle_without_area_has_no_normal(tmp_path: Path) -> None:
    write_mesh(Surface(np.zeros((3, 3)), np.array([[0, 1, 2]], np.int32)), tmp_path / "x.stl")
    assert (tmp_path / "x.stl").read_bytes()[84:] == bytes(50)


def test_a_ply_says_where_it_lies(tmp_path: Path, surface: Surface) -> None:
    write_mesh(surface, tmp_path / "x.ply")
    assert b"\ncomment SPACE=LPS\n" in (tmp_path / "x.ply").read_bytes()[:200]


def test_another_suffix_is_an_error(tmp_path: Path, surface: Surface) -> None:
    with pytest.raises(InputError, match=r"x\.obj: expected a name that ends in \.stl, \.ply"):
        write_mesh(surface, tmp_path / "x.obj")


def test_a_file_that_cannot_be_written_is_an_error(tmp_path: Path, surface: Surface) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"x\.stl: cannot be written \(.+\)"):
        write_mesh(surface, tmp_path / "file" / "x.stl")
    assert (tmp_path / "file").read_bytes() == b""
